"""A curve for each of several guidance rules: what ``quality_vs_w.py rules=[...]`` does."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from quality_curves import Curve, quality_curves

from flowguide import guidance
from flowguide.evaluation import EvaluateConfig, Row, label_of


def quality_of_rules(settings: dict[str, Any], rules: Any, folder: Path) -> list[Row]:
    """Measure every rule, write the tables, draw the figure; the rows that were measured, the real data last."""
    config = EvaluateConfig.of(settings)
    curves: list[Curve] = []
    for label, node, solver in resolved(rules, config.w, config.solver):
        missing = [
            value for value in node.values() if isinstance(value, str) and "/" in value and not Path(value).exists()
        ]
        if missing:
            print(f"{label}: left out, there is no run {missing[0]}", flush=True)
            continue
        curves.append(Curve(label, replace(config, guidance=node, solver=solver), {}))
    return quality_curves(curves, settings, folder / "quality_of_rules")


def resolved(rules: Any, w: Any, solver: Mapping[str, Any]) -> list[tuple[str, dict[str, Any], Mapping[str, Any]]]:
    """For each of the rules its label, its node with all options, and the solver's node.

    Args:
        rules: What a recipe lists: names, and nodes, which may have a solver of their own.
        w, solver: For those that have none.
    """
    if not (isinstance(rules, list) and rules):
        raise ValueError(f"rules must be 'every' or a list of rules, each a name or a node, not {rules!r}")
    given = [{"name": rule} if isinstance(rule, str) else rule for rule in rules]
    for rule in given:
        if not isinstance(rule, Mapping) or "name" not in rule:
            raise ValueError(f"each of the rules is a name or a node, {{name: ..., ...}}, not {rule!r}")
    names = [rule["name"] for rule in given]
    found = []
    for rule in given:
        options = {key: value for key, value in rule.items() if key != "solver"}
        node = {**guidance.registry.defaults(rule["name"]), **options}
        if "w" in node and "w" not in options:
            node["w"] = w
        told = {
            key: Path(value).name if isinstance(value, str) else value for key, value in options.items() if key != "w"
        }
        label = rule["name"] if names.count(rule["name"]) == 1 else label_of(told)
        found.append((label, node, rule.get("solver", solver)))
    return found
