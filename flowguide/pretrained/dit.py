r"""The files of DiT: transformers of latents of images, told a timestep and a class.

They were trained on DDPM's linear schedule of 1000 timesteps and predict the noise, and in as many channels more a
variance, which is dropped. They are told the number of the timestep, 0 to 999. Labels were dropped at random in
training, so the last row of the labels' table means "none" and any rule guides them,

.. math:: \tilde\varepsilon = (1 - w)\, \hat\varepsilon(x, n, \varnothing) + w\, \hat\varepsilon(x, n, y),

``fg.guidance.build("cfg", field, w=4.0)``. (The published sampler guides the first 3 of 4 channels; this guides all.)

The samples are latents, (4, 32, 32) for images of 256x256 and (4, 64, 64) for 512x512, 0.18215 times those of Stable
Diffusion's autoencoder, which is no part of the file. Names and shapes: :mod:`.dit_keys`.

Source: Peebles & Xie (2022), arXiv 2212.09748, and the files published with it.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from .base import Imported, formats
from .dit_shapes import read_transformer


@formats.register("dit")
def dit(
    tensors: Mapping[str, Tensor],
    heads: int | None = None,
    null_label: bool = True,
    size: Sequence[int] | None = None,
) -> Imported:
    """DiT-XL-2-256x256.pt and the like: DDPM's linear schedule, noise.

    Args:
        tensors: Of the file.
        heads: Of the attention; null for those of the published width, 16 of XL and L, 12 of B, 6 of S.
        null_label: Whether the last label means "none"; false for one that was trained without dropping labels.
        size: Height and width of the latents; null for those that the file has positions of.
    Raises:
        ValueError: if a tensor is missing, left over or of another shape, or something is not told.
    """
    network, taken, shape = read_transformer(tensors, heads, null_label, size)
    path = {"name": "ddpm", "schedule": "linear"}
    return Imported(network=network, path=path, tensors=taken, predicts="noise", clock="timestep", shape=shape)
