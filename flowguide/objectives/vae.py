r"""Reconstruction, and a bound on how much the latents say: what autoencoders are trained for.

For an image of D numbers, and latents :math:`z = m(x) + s(x) \varepsilon`,

.. math:: L = \frac1D \Big( \sum_i |x_i - D(z)_i|^p
    + \lambda\, \mathrm{KL}\big( N(m, s^2) \,\|\, N(0, 1) \big) \Big), \qquad
    \mathrm{KL} = \frac12 \sum_j \big( m_j^2 + s_j^2 - 1 - \log s_j^2 \big),

with p = 1 or 2. No perceptual and no adversarial loss is part of it, and so the reconstructions of small autoencoders
are blurred where those of Stable Diffusion's are not. At p = 2 this is, but for a constant, lambda / D times the
variational bound on the negative log-likelihood under Gaussian noise of variance lambda / 2 in every pixel.

Source: Kingma & Welling (2014), arXiv 1312.6114, appendix B; the weight, Higgins et al. (2017), beta-VAE, ICLR;
1e-6, Rombach et al. (2022), arXiv 2112.10752.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from ..networks import Autoencoder
from .base import Objective, objectives


@objectives.register("vae")
class VAE(Objective):
    """Reconstruction of images pixel by pixel, and the KL divergence of their latents from N(0, 1); no perceptual loss.

    Args:
        kl_weight: Of the divergence in nats, summed over latents, beside errors summed over pixels.
        error: Of a pixel: "l1" is |x - x'|, "l2" its square.
    """

    trains = Autoencoder

    def __init__(self, kl_weight: float = 1e-4, error: Literal["l1", "l2"] = "l2") -> None:
        if not 0 <= kl_weight < float("inf"):
            raise ValueError(f"kl_weight is at least 0, and finite, not {kl_weight}")
        self.kl_weight = kl_weight
        self.error = error

    def losses(self, model: nn.Module, data: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        shape = (len(data), *model.latent_shape(data.shape[1:]))
        noise = torch.randn(shape, generator=generator, dtype=data.dtype, device=data.device)
        images, mean, std = model(data, noise)
        difference = (images - data).flatten(1)
        errors = (difference.abs() if self.error == "l1" else difference.square()).mean(1)
        divergence = 0.5 * (mean.square() + std.square() - 1 - 2 * std.log()).flatten(1).sum(1)
        self.report = {"reconstruction": errors.detach().mean(), "divergence": divergence.detach().mean()}
        return errors + self.kl_weight / data[0].numel() * divergence
