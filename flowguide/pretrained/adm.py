r"""The files of guided-diffusion: the U-Nets of ADM, its upsamplers, and its classifiers of noisy images.

They were trained on a discrete schedule, and so are on the path ``ddpm`` and told the timestep. The U-Nets predict the
noise, and in as many channels more a variance, which is dropped. The class-conditional ones were trained without
dropping labels: they have no null condition, classifier-free guidance refuses them, and what guides them is the
classifier of noisy images of their size,

.. math:: \tilde\varepsilon = \hat\varepsilon(x, t, y) - w\, \alpha_t \sigma_t\, g,
    \qquad g = \tfrac{1}{\alpha_t} \nabla_x \log p_t(y \mid x),

``fg.guidance.build("classifier", field, classifier, w=1.0, base="conditional")``. An upsampler takes a small image
beside the state: its condition is ``field.network.join(image, labels)``, or it is a stage of a cascade
(:mod:`flowguide.training.cascade`). Images are in [-1, 1].

Source: Dhariwal & Nichol (2021), arXiv 2105.05233, and the files published with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from .. import networks
from ..networks.blocks import Order
from ..registry import unknown
from .adm_keys import places
from .adm_published import MODELS, Published
from .adm_shapes import image_side, network_options
from .base import Imported, formats, take


@formats.register("adm")
def adm(
    tensors: Mapping[str, Tensor],
    like: str | None = None,
    heads: int | None = None,
    head_width: int | None = None,
    attention_order: Order | None = None,
    schedule: Literal["linear", "cosine"] | None = None,
    size: Sequence[int] | None = None,
    channels: int = 3,
    blocks: int | None = None,
    factor: int = 4,
) -> Imported:
    """OpenAI's guided-diffusion: the ADM U-Nets, upsamplers and noisy classifiers.

    Args:
        tensors: Of the file.
        like: The published model whose heads, order, betas and size a file of your own training has; null to look for
            the model whose shapes it has.
        heads, head_width: How many heads at every level, or how wide each is, whatever ``like`` says.
        attention_order, schedule, size: Likewise; "legacy" and "linear" are guided-diffusion's defaults.
        channels: Of the images.
        blocks: Per level of a classifier, if its shapes leave that open.
        factor: How many times as large an upsampler makes its images; both published ones make them 4 times as large.
    Raises:
        ValueError: if a tensor is missing, left over or of another shape, or nothing tells how attention is split.
    """
    if like is not None and like not in MODELS:
        raise unknown("ADM model", like, MODELS)
    if heads is not None and head_width is not None:
        raise ValueError(f"heads={heads} and head_width={head_width} say the same thing: give one of them")
    told = network_options(tensors, channels, blocks)
    model = MODELS[like] if like else next((each for each in MODELS.values() if each.is_told_by(told)), None)
    split = _heads(model, heads, head_width)
    if told.get("pool") == "attention_to_logits" and "heads" in split:
        raise ValueError("attention that pools is split by its width: say head_width=... and not heads=...")
    sides = _sides(tensors, told, model, size)
    network = {
        "name": "unet_encoder" if "pool" in told else "unet",
        **told,
        **split,
        "attention_order": attention_order or (model.order if model else "legacy"),
    }
    if "pool" in told:
        if sides is None:
            raise ValueError("the images of this classifier may be of any size: say size=[height, width]")
        network["size"] = list(sides)
    path = {"name": "ddpm", "schedule": schedule or (model.schedule if model else "linear")}
    with torch.device("meta"):  # for names and shapes alone
        skeleton = networks.registry.build_from(network)
    conditioner = None
    if told.get("extra_channels") and sides is not None:
        # In training, small images were means of blocks, without noise.
        conditioner = {"name": "low_resolution", "size": sides[0] // factor, "augmentation": None}
    return Imported(
        network=network,
        path=path,
        tensors=take(tensors, skeleton, places(skeleton)),
        clock="timestep",
        shown="state",
        shape=None if sides is None else (channels, *sides),
        conditioner=conditioner,
    )


def _heads(model: Published | None, heads: int | None, head_width: int | None) -> dict[str, Any]:
    if heads is None and head_width is None:
        if model is None:
            raise ValueError(
                f"its shapes are those of no published ADM model, and shapes do not tell how attention is split: say "
                f"heads=..., head_width=... or like=... (known: {', '.join(MODELS)})"
            )
        heads, head_width = model.heads, model.head_width
    return {"heads": heads} if heads is not None else {"head_width": head_width}


def _sides(
    tensors: Mapping[str, Tensor], told: Mapping[str, Any], model: Published | None, size: Sequence[int] | None
) -> tuple[int, int] | None:
    """Height and width of the images."""
    if size is not None:
        if len(size) != 2:
            raise ValueError(f"size is [height, width], not {list(size)}")
        return size[0], size[1]
    side = image_side(tensors, len(told["multipliers"])) or (model.size if model else None)
    return None if side is None else (side, side)
