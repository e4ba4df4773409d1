"""A curve for each of several solvers, or numbers of steps: ``quality_vs_w.py solvers=[...]`` and ``steps=[...]``."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from quality_curves import Curve, lines, quality_curves

from flowguide import solvers as all_solvers
from flowguide.evaluation import EvaluateConfig, Row, label_of


def quality_of_solvers(settings: dict[str, Any], solvers: Any, folder: Path) -> list[Row]:
    """Measure every solver, write the tables, draw the figure; the rows that were measured, the real data last."""
    if not (isinstance(solvers, list) and solvers):
        raise ValueError(f"solvers must be a list of solvers, each a name or a node, {{name: ...}}, not {solvers!r}")
    config = EvaluateConfig.of(settings)
    nodes = [{"name": node} if isinstance(node, str) else node for node in solvers]
    if not all(isinstance(node, dict) and "name" in node for node in nodes):
        raise ValueError(f"each of the solvers is a name or a node, {{name: ..., ...}}, not {solvers!r}")
    names = [node["name"] for node in nodes]
    curves = []
    for node in nodes:
        label = node["name"] if names.count(node["name"]) == 1 else label_of(node)
        options = all_solvers.registry.options(node["name"])
        shared = {"steps": config.solver["steps"]} if "steps" in options and "steps" in config.solver else {}
        curves.append(Curve(label, replace(config, solver={**shared, **node}), {}))
    return quality_curves(curves, settings, folder / "quality_of_solvers")


def quality_of_steps(settings: dict[str, Any], steps: Any, folder: Path) -> list[Row]:
    """Likewise for one solver with several numbers of steps."""
    if not (isinstance(steps, list) and steps and all(isinstance(n, int) and n > 0 for n in steps)):
        raise ValueError(f"steps must be a list of numbers of steps, each at least 1, not {steps!r}")
    config = EvaluateConfig.of(settings)
    curves = [
        Curve(f"{n} step{'s' if n > 1 else ''}", replace(config, solver={**config.solver, "steps": n}), {"steps": n})
        for n in sorted(steps)
    ]
    return quality_curves(curves, settings, folder / "quality_of_steps", partial(lines, ordered=True))
