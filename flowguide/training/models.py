"""Trained models that a recipe's node names by their run folders.

An option that takes a module (a Field, a Posterior) cannot be written in a recipe or on the command line. There it is
the run folder, or the checkpoint file, that holds one: ``guidance.classifier=runs/digits_noisy_classifier``. The
annotation of the option says which kind of model it takes, and nothing else is needed of a component to be served so.
"""

import inspect
import typing
from collections.abc import Mapping
from typing import Any

from torch import nn

from .. import guidance
from ..fields import Field, Given
from ..options import annotations_of
from .assemble import load


def with_models(node: Mapping[str, Any], field: Field, ema: bool | float = True) -> dict[str, Any]:
    """The node of a guidance rule with every run folder replaced by the model that it holds, on the field's device.

    Args:
        node: ``name`` and options; options that are nodes of rules in turn are treated likewise, and models stay.
        field: What the rule will guide.
        ema: Take the averaged weights; False for those of the last step. A number is the width of the average of the
            field, and no other model's, which has a length of its own: for one made of it, name its file.
    Returns:
        A node for ``guidance.registry.build_from``.
    Raises:
        ValueError: if there is no such run, or it holds another kind of model, or one of data of another shape.
    """
    names = guidance.names()
    if not isinstance(node, Mapping) or node.get("name") not in names:
        return node  # the registry says what is wrong with it
    ema = ema if isinstance(ema, bool) else True
    annotations = annotations_of(guidance.registry.get(node["name"]))
    resolved = dict(node)
    for option, value in node.items():
        kinds = _modules(annotations.get(option))
        if isinstance(value, Mapping) and value.get("name") in names:
            resolved[option] = with_models(value, field, ema)
        elif kinds and isinstance(value, nn.Module):
            resolved[option] = _shown(value, field)
        elif kinds and isinstance(value, str):
            resolved[option] = _load(value, kinds, f"option {option!r} of {node['name']}", field, ema)
        elif kinds and value is None and not _takes_none(annotations[option]):
            raise ValueError(
                f"the rule {node['name']} needs guidance.{option}: a run folder, as 'flowguide train' writes it, that "
                f"holds {_described(kinds)}"
            )
    return resolved


def _load(path: str, kinds: list[type[nn.Module]], owner: str, field: Field, ema: bool) -> nn.Module:
    device = next((p.device for p in field.parameters()), "auto")
    model = load(path, ema, device)
    if not isinstance(model, tuple(kinds)):
        raise ValueError(f"{path} holds a {type(model).__name__}, and {owner} takes {_described(kinds)}")
    ours, theirs = (getattr(getattr(each, "config", None), "shape", None) for each in (field, model))
    if ours is not None and theirs is not None and list(ours) != list(theirs):
        raise ValueError(f"{path} is of samples of shape {tuple(theirs)}, and the field to guide of {tuple(ours)}")
    return _shown(model, field)


def _shown(model: nn.Module, field: Field) -> nn.Module:
    """The model; of a field that is given images, any other that is shown some is given the same."""
    plain = model.field if isinstance(model, Given) else model
    shown = getattr(getattr(plain, "network", None), "extra_channels", 0)
    return field.of(plain) if isinstance(field, Given) and shown else model


def _modules(annotation: Any) -> list[type[nn.Module]]:
    """The modules that an annotation takes; none if it takes strings too, which then mean themselves."""
    parts = typing.get_args(annotation) or (annotation,)
    return [] if str in parts else [part for part in parts if inspect.isclass(part) and issubclass(part, nn.Module)]


def _takes_none(annotation: Any) -> bool:
    return type(None) in typing.get_args(annotation)


def _described(kinds: list[type[nn.Module]]) -> str:
    """Names, each with the first sentence of what it is."""
    sentences = ((inspect.getdoc(kind) or "").partition("\n")[0].rstrip(".") for kind in kinds)
    return " or ".join(f"a {kind.__name__} ({text})" for kind, text in zip(kinds, sentences, strict=True))
