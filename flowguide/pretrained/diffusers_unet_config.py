"""What the ``config.json`` of a ``UNet2DModel`` of diffusers says of its network, and what of it there is not here.

==============================================  ==================================================================
here, an option of ``unet``                     there
==============================================  ==================================================================
``width``, ``multipliers``                      ``block_out_channels``
``blocks``                                      ``layers_per_block``
``attention``                                   levels of ``AttnDownBlock2D`` and ``AttnUpBlock2D``
``middle_attention``                            ``add_attention``
``head_width``, or one of ``heads``             ``attention_head_dim``, or null
``resampling="residual"``                       ``ResnetDownsampleBlock2D``, ``ResnetUpsampleBlock2D``, or with
                                                attention ``downsample_type`` and ``upsample_type`` "resnet"
``"convolution"``, ``"asymmetric"``             otherwise, with ``downsample_padding`` 1, or 0
``scale_shift``                                 ``resnet_time_scale_shift``
``groups``, ``epsilon``                         ``norm_num_groups``, ``norm_eps``
``closed_frequencies``                          ``freq_shift`` 1, and not 0
``num_classes``                                 ``num_class_embeds``, with a null label or without
``learned_sigma``                               twice as many ``out_channels`` as ``in_channels``
==============================================  ==================================================================
"""

from collections.abc import Mapping
from typing import Any

# What is meant where an entry is absent.
_DEFAULTS: dict[str, Any] = {
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [224, 448, 672, 896],
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "downsample_padding": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "dropout": 0.0,
    "act_fn": "silu",
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "attn_norm_num_groups": None,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "class_embed_type": None,
    "num_class_embeds": None,
    "num_train_timesteps": None,
}
# What these may be; the networks that others make are not here.
_HERE: dict[str, tuple[Any, ...]] = {
    "center_input_sample": (False,),
    "time_embedding_type": ("positional",),
    "freq_shift": (0, 1),
    "flip_sin_to_cos": (False, True),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "downsample_padding": (0, 1),
    "downsample_type": ("conv", "resnet"),
    "upsample_type": ("conv", "resnet"),
    "act_fn": ("silu", "swish"),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "add_attention": (False, True),
    "class_embed_type": (None,),
}
# Whether a block has attention, and by what it changes the resolution; None for what the type says.
_BLOCKS: dict[str, tuple[bool, str | None]] = {
    "DownBlock2D": (False, "conv"),
    "UpBlock2D": (False, "conv"),
    "ResnetDownsampleBlock2D": (False, "resnet"),
    "ResnetUpsampleBlock2D": (False, "resnet"),
    "AttnDownBlock2D": (True, None),
    "AttnUpBlock2D": (True, None),
}


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every entry, those absent at their defaults.

    Raises:
        ValueError: if it is of another network, or an entry is unknown, malformed or makes one that is not here.
    """
    if (called := config.get("_class_name", "UNet2DModel")) != "UNet2DModel":
        raise ValueError(f"its config.json is of a {called}, and what is read here is a UNet2DModel")
    given = {name: value for name, value in config.items() if not name.startswith("_")}
    for name in given:
        if name not in _DEFAULTS:
            raise ValueError(f"its config.json has an entry {name}, which no UNet2DModel is known to have")
    said = _DEFAULTS | given
    for name, values in _HERE.items():
        if said[name] not in values:
            known = " or ".join(map(repr, values))
            raise ValueError(f"its {name} is {said[name]!r}, and there is no such network here but with {known}")
    for name in ("in_channels", "out_channels", "layers_per_block", "norm_num_groups"):
        _check_count(name, said[name])
    for name in ("attention_head_dim", "num_class_embeds", "num_train_timesteps"):
        if said[name] is not None:
            _check_count(name, said[name])
    widths = said["block_out_channels"]
    if not isinstance(widths, list | tuple) or not widths:
        raise ValueError(f"its block_out_channels is {widths!r}, and should be channels for each level")
    for width in widths:
        _check_count("block_out_channels", width)
    if not isinstance(said["norm_eps"], float):
        raise ValueError(f"its norm_eps is {said['norm_eps']!r}, and should be a small number")
    if said["time_embedding_dim"] not in (None, 4 * widths[0]):
        raise ValueError(f"its time_embedding_dim is {said['time_embedding_dim']}, and here it is {4 * widths[0]}")
    normed = said["attn_norm_num_groups"] == said["norm_num_groups"] or (
        said["attn_norm_num_groups"] is None and said["resnet_time_scale_shift"] == "default"
    )
    if said["add_attention"] and not normed:
        raise ValueError(
            f"its attn_norm_num_groups is {said['attn_norm_num_groups']}, and attention in the middle has "
            f"{said['norm_num_groups']} groups here, as everything else"
        )
    return said


def network_options(said: Mapping[str, Any], null_label: bool) -> dict[str, Any]:
    """The options of ``unet`` for entries of :func:`read_config`; ValueError if it is no network of this kind."""
    widths = said["block_out_channels"]
    channels, outputs = said["in_channels"], said["out_channels"]
    if outputs not in (channels, 2 * channels):
        raise ValueError(f"it takes {channels} channels and gives {outputs}, which should be as many or twice as many")
    attention, resampling = _levels(said, len(widths))
    labels, head_width = said["num_class_embeds"], said["attention_head_dim"]
    if null_label and (labels is None or labels < 2):
        raise ValueError("null_label=true says that the last of its labels means none, and it has no labels")
    return {
        "name": "unet",
        "channels": channels,
        "num_classes": None if labels is None else labels - null_label,
        "null_label": labels is None or null_label,
        "width": widths[0],
        "multipliers": [each / widths[0] if each % widths[0] else each // widths[0] for each in widths],
        "blocks": said["layers_per_block"],
        "attention": attention,
        "middle_attention": said["add_attention"],
        **({"heads": 1} if head_width is None else {"head_width": head_width}),
        "scale_shift": said["resnet_time_scale_shift"] == "scale_shift",
        "resampling": resampling,
        "groups": said["norm_num_groups"],
        "epsilon": said["norm_eps"],
        "closed_frequencies": said["freq_shift"] == 1,
        "learned_sigma": outputs == 2 * channels,
        "time_scale": 1.0,
    }


def sides(said: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width of the images, if it says."""
    size = said["sample_size"]
    if size is None or isinstance(size, int):
        return None if size is None else (size, size)
    if not isinstance(size, list | tuple) or len(size) != 2:
        raise ValueError(f"its sample_size is {size!r}, and should be a number of pixels, or height and width")
    return size[0], size[1]


def _levels(said: Mapping[str, Any], count: int) -> tuple[list[int], str]:
    """The levels with attention, and how the resolution is changed."""
    down, up = ([_block(name, said) for name in said[f"{way}_block_types"]] for way in ("down", "up"))
    if len(down) != count or len(up) != count:
        raise ValueError(
            f"it has {len(down)} down_block_types, {len(up)} up_block_types and {count} block_out_channels, and "
            f"should have as many of each"
        )
    attention = [level for level, (attends, _) in enumerate(down) if attends]
    on_the_way_up = [level for level, (attends, _) in enumerate(reversed(up)) if attends]
    if attention != on_the_way_up:
        raise ValueError(
            f"it has attention at the levels {attention} on its way down and {on_the_way_up} on its way up, and here "
            f"they are the same"
        )
    ways = {way for _, way in down[:-1] + up[:-1]}  # the last of each changes nothing
    if len(ways) > 1:
        raise ValueError("some of its blocks change the resolution by convolutions and some by residual blocks")
    if ways == {"resnet"}:
        return attention, "residual"
    return attention, "convolution" if said["downsample_padding"] else "asymmetric"


def _block(name: str, said: Mapping[str, Any]) -> tuple[bool, str]:
    if name not in _BLOCKS:
        raise ValueError(f"it has blocks of the type {name}, and here there are {', '.join(_BLOCKS)}")
    attends, way = _BLOCKS[name]
    return attends, way or said["downsample_type" if "Down" in name else "upsample_type"]


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"its {name} is {value!r}, and should be a number, 1 or more")
