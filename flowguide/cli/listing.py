"""``flowguide list``: what there is to choose from."""

import importlib
import inspect
import textwrap
from collections.abc import Sequence

from ..registry import Registry, unknown
from . import recipes

# Kind -> module and attribute of its registry, and how a component is chosen on the command line.
KINDS: dict[str, tuple[str, str]] = {
    "recipes": ("", "flowguide train RECIPE"),
    "data": ("data.registry", "data=NAME"),
    "paths": ("paths.registry", "path=NAME"),
    "networks": ("networks.registry", "network=NAME"),
    "objectives": ("objectives.registry", "objective=NAME"),
    "conditioners": ("conditioners.registry", "conditioner=NAME"),
    "couplings": ("couplings.registry", "objective.coupling=NAME"),
    "weightings": ("objectives.weightings", "objective.weighting=NAME"),
    "times": ("objectives.time_samplings", "objective.time=NAME"),
    "guidance": ("guidance.registry", "guidance=NAME"),
    "schedules": ("guidance.schedules", "guidance.w={name: NAME, ...}"),
    "observations": ("observations.registry", "guidance.observation=NAME, for rules that take one"),
    "solvers": ("solvers.registry", "solver=NAME"),
    "grids": ("solvers.grids", "solver.grid=NAME"),
    "diffusions": ("solvers.diffusions", "solver.diffusion=NAME, of SDE solvers"),
    "metrics": ("metrics.registry", "metrics=[NAME, ...]"),
    "features": ("evaluation.features.registry", "features=NAME"),
    "formats": ("pretrained.registry", "flowguide import FILE format=NAME"),
    "diagnostics": ("diagnostics.registry", 'fg.diagnostics.build("NAME", ...)'),
}


def show(words: Sequence[str]) -> None:
    """Print all names, or one kind's names, descriptions and options; with ``--verbose``, what networks cost too.

    Raises:
        ValueError: if a word is neither a kind nor ``imports=[...]`` nor ``--verbose`` of networks.
    """
    recipes.import_modules(recipes.imports_among(words))
    verbose = "--verbose" in words
    words = [word for word in words if word != "--verbose"]
    kinds = [word for word in words if "=" not in word]
    for word in words:
        if "=" in word and not word.startswith("imports="):
            raise ValueError(f"flowguide list takes a kind and imports=[...], not {word!r}")
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind", kind, KINDS)
    if verbose and "networks" not in kinds:
        raise ValueError("--verbose says what networks cost: flowguide list networks --verbose")
    for kind in kinds or KINDS:
        print(f"{kind}  ({KINDS[kind][1]})")
        print("\n".join(_lines(kind, brief=not kinds)))
        print()
        if verbose and kind == "networks":
            from .costs import lines

            print("\n".join(f"  {line}" for line in lines()))
            print()


def _lines(kind: str, brief: bool) -> list[str]:
    if kind == "recipes":
        return [_entry(name, about) for name, about in recipes.names().items()]
    registry = _registry(kind)
    if brief:
        return [textwrap.fill(", ".join(registry.names()), 100, initial_indent="  ", subsequent_indent="  ")]
    lines = []
    for name in registry.names():
        space = getattr(registry.get(name), "space", None)
        about = registry.describe(name) + (f" Acts in the prediction of: {space}." if space else "")
        lines.append(_entry(name, about))
        options = ", ".join(_option(p) for p in registry.options(name).values())
        if options:
            lines.append(textwrap.fill(options, 100, initial_indent=" " * 20, subsequent_indent=" " * 20))
    return lines


def _entry(name: str, about: str) -> str:
    return textwrap.fill(f"{name:17} {about}", 100, initial_indent="  ", subsequent_indent=" " * 20)


def _option(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return parameter.name
    default = parameter.default
    return f"{parameter.name}={'null' if default is None else list(default) if isinstance(default, tuple) else default}"


def _registry(kind: str) -> Registry:
    module, _, attribute = KINDS[kind][0].rpartition(".")
    return getattr(importlib.import_module(f"flowguide.{module}"), attribute)
