"""The table of ``flowguide list networks --verbose``: what networks cost, at their defaults and at published sizes."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ..networks import registry
from ..networks.cost import Cost, cost

# What a network is given: the first of these that it takes.
_SHAPES, _CLASSES = ((2,), (3, 32, 32)), 10


def lines() -> list[str]:
    """A line per network and preset: parameters, and operations of one evaluation of one sample."""
    found = [f"{'network':14}{'input':>12}{'classes':>9}{'parameters':>13}{'FLOPs':>11}"]
    for name, shape, options in _cases():
        classes = options.get("num_classes")
        try:
            spent = _cost(name.partition(" ")[0], shape, options)
        except (ValueError, RuntimeError, TypeError) as error:  # a user's network may need more than the data tell
            found.append(f"{name:14}{'x'.join(map(str, shape)):>12}  not counted: {' '.join(str(error).split())}")
            continue
        row = f"{name:14}{'x'.join(map(str, shape)):>12}{'-' if classes is None else classes:>9}"
        found.append(row + f"{_short(spent.parameters):>13}{_short(spent.flops):>11}")
    found.append("for one sample, forward; a multiplication with its addition is two FLOPs")
    return found


def _cost(name: str, shape: tuple[int, ...], options: Mapping[str, Any]) -> Cost:
    try:
        with torch.device("meta"):  # where nothing is computed, so that large ones take no longer than small ones
            return cost(registry.build(name, **options), shape)
    except RuntimeError:  # not everything runs there: autocast does not
        return cost(registry.build(name, **options), shape)


def _cases() -> Iterator[tuple[str, tuple[int, ...], Mapping[str, Any]]]:
    """Name, with the preset's after it, shape of a sample and options."""
    for name in registry.names():
        component = registry.get(name)
        for shape in _SHAPES:
            try:
                yield name, shape, component.options_for(shape, _CLASSES)
                break
            except (ValueError, AttributeError):  # it takes samples of another shape, or says nothing of them
                continue
        for preset, options in getattr(component, "presets", {}).items():
            yield f"{name} {preset}", (options["channels"], *_SHAPES[-1][1:]), options


def _short(count: int) -> str:
    """Four digits and a unit: 33.01 M."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return str(count)
