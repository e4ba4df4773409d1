r"""Reconstruction guidance: the observation as seen through the noise that is left.

.. math:: C_t = \frac{\sigma_t^2}{\alpha_t^2} I, \qquad
    \tilde z(x) = \hat z(x) - \frac{w\, \alpha_t}{2} \nabla_x \lVert y - A \hat z(x) \rVert^2 .

It knows nothing of the observation's own noise, and near the data, where :math:`C_t` vanishes, reproduces it.

Source: Ho, Salimans, Gritsenko, Chan, Norouzi & Fleet (2022), arXiv 2204.03458, section 3.1, Eq. 7, whose :math:`w_r`
is w.
"""

from torch import Tensor

from ..paths import Coefficients
from .base import guidance
from .inverse import Inverse


@guidance.register("reconstruction")
class ReconstructionGuidance(Inverse):
    """Reconstruction guidance: the data prediction moved against the gradient of its squared residual.

    Args:
        field: The field to guide, with or without conditions.
        observation: How the data are seen; in a recipe its name, or its name and options.
        observed: y, one for all samples or one for each; in a recipe a list, or a file .npy or .safetensors.
        w: The weight: a number, one per sample, shape (B,), or a schedule. The paper has more than 1.
    """

    space = "data"  # which changes by a finite amount where sigma = 0, and so the noise does not

    def whiten(self, residual: Tensor, c: Coefficients, shape: tuple[int, ...]) -> Tensor:
        return residual * (c.alpha / c.sigma).reshape(-1, *[1] * (residual.ndim - 1)) ** 2
