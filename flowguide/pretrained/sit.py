r"""The files of SiT: DiT's network on continuous paths.

In its code, as here, t = 0 is noise and t = 1 data, and the network is told t itself, in [0, 1]. What was published
predicts the velocity on the straight path,

.. math:: x_t = t\, x_1 + (1 - t)\, \varepsilon, \qquad u = x_1 - \varepsilon;

its code trains on two others too, with the scales of ours, and predicts velocity, noise or score on each:

=======  ==========  ==================================================================
there    here        alpha, sigma
=======  ==========  ==================================================================
Linear   ``linear``  t, 1 - t
GVP      ``cosine``  sin(pi t / 2), cos(pi t / 2)
VP       ``vp``      of the VP-SDE, with betas from 0.1 at the data to 20 at the noise
=======  ==========  ==================================================================

The last layer gives twice the channels, of which the second half is not used. The samples are latents, as of DiT, and
so are labels, and the names and shapes in a file: :mod:`.dit_keys`.

Source: Ma et al. (2024), arXiv 2401.08740, and the files published with it.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from .base import Imported, formats
from .dit_shapes import read_transformer


@formats.register("sit")
def sit(
    tensors: Mapping[str, Tensor],
    path: Literal["linear", "cosine", "vp"] = "linear",
    predicts: Literal["velocity", "score", "noise"] = "velocity",
    heads: int | None = None,
    null_label: bool = True,
    size: Sequence[int] | None = None,
) -> Imported:
    """SiT-XL-2-256x256.pt and the like: the straight path, velocity.

    Args:
        tensors: Of the file.
        path: What it was trained on: "linear", "cosine" (GVP there) or "vp".
        predicts: What it was trained to predict.
        heads, null_label, size: As for the format "dit".
    Raises:
        ValueError: if a tensor is missing, left over or of another shape, or something is not told.
    """
    network, taken, shape = read_transformer(tensors, heads, null_label, size)
    return Imported(network=network, path={"name": path}, tensors=taken, predicts=predicts, shape=shape)
