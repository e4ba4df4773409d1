"""Several guidance rules in one figure and one table: what ``quality_vs_w.py rules=[...]`` does.

The first rule is what all others are compared with: the table says of each, at its best weight by the first metric, by
how much it is better than the first one at its own best, as a mean over seeds with its standard error, seed by seed.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from flowguide import drawing, guidance, metrics
from flowguide.evaluation import REAL, EvaluateConfig, Row, evaluate, label_of, label_of_weight, summarise

_IN_A_ROW = 5  # of the figure, beside the first rule


def quality_of_rules(settings: dict[str, Any], rules: Any, folder: Path) -> list[Row]:
    """Measure every rule, write the tables, draw the figure; the rows that were measured, the real data last."""
    config = EvaluateConfig.of(settings)
    rows: list[Row] = []
    real: list[Row] = []
    for label, node, solver in resolved(rules, config.guidance["w"], config.solver):
        missing = [
            value for value in node.values() if isinstance(value, str) and "/" in value and not Path(value).exists()
        ]
        if missing:
            print(f"{label}: left out, there is no run {missing[0]}", flush=True)
            continue
        print(label, flush=True)
        chosen = replace(config, guidance=node, solver=solver)
        *points, last = evaluate(chosen, Path(config.home) / "evaluation", rule=label)
        rows, real = [*rows, *points], [last]
    if not rows:
        raise ValueError("none of the rules could be measured")
    best = bests(rows, config.metrics)
    print(table(best, config.metrics))
    write(folder / "quality_of_rules", rows + real, best, settings)
    files = drawing.save(figure([*rows, *real], config.metrics), folder / "quality_of_rules")
    print("figure:", *files)
    return rows + real


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


def bests(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Each rule at its best weight by the first metric, and how much better it is than the first rule at its best."""
    first = names[0]
    sign = 1 if metrics.registry.get(first).better == "lower" else -1
    summary = summarise(rows, names)
    chosen = [
        min((row for row in summary if row["rule"] == rule), key=lambda row: sign * row[first])
        for rule in dict.fromkeys(row["rule"] for row in rows)
    ]

    def values(best: Row) -> torch.Tensor:
        at = {row["seed"]: row[first] for row in rows if (row["rule"], row["w"]) == (best["rule"], best["w"])}
        return torch.tensor([at[seed] for seed in sorted(at)], dtype=torch.float64)

    for best in chosen:
        gain = sign * (values(chosen[0]) - values(best))
        best["gain"] = float(gain.mean())
        best["gain_error"] = float(gain.std() / len(gain) ** 0.5) if len(gain) > 1 else 0.0
    return chosen


def table(best: Sequence[Row], names: Sequence[str]) -> str:
    """The best of each rule as text."""
    titles = [metrics.registry.get(name).title for name in names]
    widths = [max(16, len(title) + 2) for title in titles]
    first = max(len(row["rule"]) for row in best)
    lines = [
        f"{'each at its best':{first}}{'w':>6}"
        + "".join(f"{title:>{width}}" for title, width in zip(titles, widths, strict=True))
        + f"{'better by':>18}{'evaluations':>13}"
    ]
    for row in best:
        cells = [f"{row[name]:.4g} ± {row[f'{name}_std']:.2g}" for name in names]
        lines.append(
            f"{row['rule']:{first}}{label_of_weight(row['w']):>6}"
            + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
            + f"{row['gain']:>+10.3f} ± {row['gain_error']:.3f}{row['evaluations']:>13.1f}"
        )
    lines.append(f"better by: in {titles[0]} than {best[0]['rule']} at its best, with the standard error over seeds;")
    lines.append("evaluations: of networks, per sample.")
    return "\n".join(lines)


def write(file: Path, rows: Sequence[Row], best: Sequence[Row], settings: Mapping[str, Any]) -> None:
    """All rows as CSV; those and the best as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    content = {"settings": settings, "best": best, "rows": rows}
    file.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


def figure(rows: Sequence[Row], names: Sequence[str]) -> Any:
    """A column per metric; in every row of panels some of the rules, and the first one in black."""
    drawing.use_style()
    import matplotlib.pyplot as plt

    *summary, real = summarise(rows, names)
    reference, *others = list(dict.fromkeys(row["rule"] for row in summary))
    groups = [others[i : i + _IN_A_ROW] for i in range(0, len(others), _IN_A_ROW)] or [[]]
    size = (drawing.PAGE, 1.35 * len(groups) + 0.5)
    panels, axes = plt.subplots(
        len(groups), len(names), figsize=size, layout="constrained", squeeze=False, sharex=True, sharey="col"
    )
    most = max(point["w"] for point in summary if isinstance(point["w"], float))
    for group, row in zip(groups, axes, strict=True):
        for name, ax in zip(names, row, strict=True):
            for rule, colour in [(reference, drawing.BLACK), *zip(group, drawing.COLOURS, strict=False)]:
                points = [p for p in summary if p["rule"] == rule and not isinstance(p["w"], str)]
                points.sort(key=lambda p: p["w"] or 0)
                w = [1.0 if p["w"] is None else p["w"] for p in points]
                spread = [p[f"{name}_std"] for p in points]
                style = {"color": colour, "label": rule, "markersize": 2, "linewidth": 0.9}
                drawing.band(ax, w, [p[name] for p in points], spread, **style)
            ax.axhline(real[name], color=drawing.BLACK, linestyle="--", linewidth=0.6)
            if metrics.registry.get(name).better == "lower":
                ax.set_yscale("log")
                ax.yaxis.set_major_formatter("{x:g}")
            # Wide where most happens.
            ax.set_xscale("function", functions=(_root, _square))
            ax.set_xticks([tick for tick in (0, 1, 2, 4, 8, 16) if tick <= most])
        row[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6)
    for name, ax in zip(names, axes[0], strict=True):
        ax.set_title(metrics.registry.get(name).title, fontsize=7)
    seeds = max(row["seeds"] for row in summary)
    panels.supxlabel(f"guidance weight $w$\n{caption(rows[0], seeds)}", fontsize=6)
    return panels


def caption(about: Row, seeds: int) -> str:
    """What the lines of a figure are."""
    return (
        f"{about['num']} samples per point, {seeds} seed{'s' if seeds > 1 else ''}, band: ± 1 standard deviation; "
        f"dashed: {REAL}, held out.\nFeatures: {about['features']}."
    )


def _root(x: Any) -> Any:
    return abs(x) ** 0.5


def _square(x: Any) -> Any:
    return x**2
