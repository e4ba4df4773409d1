"""What the ``config.json`` of a DiT says in a folder of diffusers.

An entry that is missing means what it does to diffusers' DiTTransformer2DModel. One that would make another network, or
that is not known here, is refused.
"""

from collections.abc import Mapping
from typing import Any

_CLASSES = ("DiTTransformer2DModel", "Transformer2DModel")  # the second is its name in older folders
# Sizes, and what is meant where the config does not say.
_SIZES = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": None,
    "num_layers": 28,
    "sample_size": 32,
    "patch_size": 2,
    "num_embeds_ada_norm": 1000,
}
# What has to be so for the network to be a DiT: the value that is meant where there is none goes first.
_FIXED: dict[str, tuple[Any, ...]] = {
    "activation_fn": ("gelu-approximate",),
    "attention_bias": (True,),
    "norm_elementwise_affine": (False,),
    "attention_type": ("default",),
    "caption_channels": (None,),
    "cross_attention_dim": (None,),
    "double_self_attention": (False,),
    "interpolation_scale": (None, 1),
    "num_vector_embeds": (None,),
    "only_cross_attention": (False,),
    "use_additional_conditions": (None, False),
}
# What changes nothing in the network's output, or nothing in that of a DiT.
_UNUSED = {"dropout", "norm_num_groups", "upcast_attention", "use_linear_projection"}


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes by name, whole numbers at least 1 (``out_channels`` may be None), and the number ``norm_eps``.

    Raises:
        ValueError: naming the first entry that a DiT does not have, and its value.
    """
    name = config.get("_class_name")
    if name not in _CLASSES:
        raise ValueError(f"config.json says _class_name is {name!r}, and a DiT is a {' or '.join(_CLASSES)}")
    # The older class was more than a DiT: there, nothing said means another norm.
    norm = config.get("norm_type", "ada_norm_zero" if name == _CLASSES[0] else "layer_norm")
    if norm != "ada_norm_zero":
        raise ValueError(f"config.json says norm_type is {norm!r}, and that of a DiT is 'ada_norm_zero'")
    for key, value in config.items():
        if key in _FIXED:
            if value not in _FIXED[key]:
                raise ValueError(f"config.json says {key} is {value!r}, and for a dit it has to be {_FIXED[key][0]!r}")
        elif not (key.startswith("_") or key in _SIZES or key in _UNUSED or key in ("norm_type", "norm_eps")):
            raise ValueError(f"config.json says {key} is {value!r}, and nothing is known here of a {key} of a DiT")
    epsilon = config.get("norm_eps", 1e-5)
    if isinstance(epsilon, bool) or not isinstance(epsilon, float | int) or not 0 < epsilon < 1:
        raise ValueError(f"config.json says norm_eps is {epsilon!r}, and it is a small number, 1e-05 as a rule")
    return {name: _whole(config, name, default) for name, default in _SIZES.items()} | {"norm_eps": float(epsilon)}


def _whole(config: Mapping[str, Any], name: str, default: int | None) -> Any:
    value = config.get(name, default)
    if value is None and default is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"config.json says {name} is {value!r}, and it is a whole number, at least 1")
    return value
