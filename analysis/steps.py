"""Draw quality against the number of evaluations of the guided field, for several solvers.

    python analysis/steps.py runs/digits
    python analysis/steps.py runs/digits 'nfe=[5,10,20]' 'solvers=[{name: auto}, {name: heun}]'

The Frechet distance, or the first of ``metrics``; a panel per guidance weight. Every solver takes the most steps that
fit, from the same noise; a line is the mean over seeds, the dashed line real held-out data. What wins on exact mixtures
need not win here: a network errs by itself, and below that a smaller error of the solver shows no more. Settings:
recipes/analysis/steps.yaml. Writes steps.png, .pdf, .csv and .json into RUN/analysis.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flowguide import drawing, metrics, solvers
from flowguide.cli import script
from flowguide.evaluation import (
    EvaluateConfig,
    Row,
    Views,
    evaluate,
    label_of,
    label_of_weight,
    summarise,
    write_csv,
)


def steps(settings: dict[str, Any], folder: Path) -> list[Row]:
    """Measure, write the tables, draw the figure; a row per solver, evaluations and weight, last the real data."""
    nodes, budgets = settings.pop("solvers"), settings.pop("nfe")
    config = EvaluateConfig.of({**settings, "solver": {"name": "auto"}})
    if not (isinstance(budgets, list) and budgets and all(isinstance(n, int) and n > 0 for n in budgets)):
        raise ValueError(f"nfe must be a list of numbers of evaluations, each at least 1, not {budgets!r}")
    if not (isinstance(nodes, list) and nodes):
        raise ValueError(f"solvers must be a list of solver nodes, each {{name: ...}}, not {nodes!r}")
    rows: list[Row] = []
    views = Views()
    for node in nodes:
        for nfe in sorted(budgets):
            if (steps := most_steps(node, nfe)) is None:
                continue
            chosen = replace(config, solver={**node, "steps": steps})
            *points, real = summarise(
                evaluate(chosen, Path(config.home) / "evaluation", show=False, views=views), config.metrics
            )
            rows += [{**point, "solver": label_of(node), "nfe": nfe, "steps": steps} for point in points]
            shown = ", ".join(f"w={label_of_weight(p['w'])}: {p[config.metrics[0]]:.3f}" for p in points)
            print(f"{label_of(node)}, {nfe} evaluations: {shown}", flush=True)
    rows.append({**real, "solver": "real data", "nfe": None, "steps": None})
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "steps.csv", rows)
    (folder / "steps.json").write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")
    print("figure:", *drawing.save(figure(rows, config.metrics[0]), folder / "steps"))
    return rows


def most_steps(node: Mapping[str, Any], nfe: int) -> int | None:
    """The most steps whose evaluations fit; None if not even one does."""
    for steps in range(nfe, 0, -1):
        evaluations = solvers.registry.build_from({**node, "steps": steps}).evaluations
        if evaluations is None:
            raise ValueError(f"{node['name']} chooses its own number of evaluations and cannot be given one")
        if evaluations <= nfe:
            return steps
    return None


def figure(rows: list[Row], name: str) -> Any:
    """One panel per guidance weight."""
    drawing.use_style()
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    *points, real = rows
    weights = list(dict.fromkeys(row["w"] for row in points))
    labels = list(dict.fromkeys(row["solver"] for row in points))
    metric = metrics.registry.get(name)
    panels, axes = plt.subplots(
        1, len(weights), figsize=(drawing.PAGE, 2.4), layout="constrained", squeeze=False, sharey=True
    )
    for w, ax in zip(weights, axes[0], strict=True):
        for solver, colour in zip(labels, drawing.COLOURS, strict=False):
            of_solver = [row for row in points if row["w"] == w and row["solver"] == solver]
            ax.plot([r["nfe"] for r in of_solver], [r[name] for r in of_solver], "o-", color=colour, label=solver)
        ax.axhline(real[name], color=drawing.BLACK, linestyle="--", linewidth=0.8)
        budgets = sorted({row["nfe"] for row in points})
        ax.set(
            xscale="log", yscale="log", title=f"$w$ = {label_of_weight(w)}", xlabel="evaluations of the guided field"
        )
        ax.set_xticks(budgets, map(str, budgets))
        ax.minorticks_off()
    axes[0][0].set_ylabel(metric.title)
    axes[0][0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[0][0].yaxis.set_major_formatter("{x:g}")
    handles, names = axes[0][0].get_legend_handles_labels()
    panels.legend(handles, names, loc="outside right center")
    return panels


if __name__ == "__main__":
    script(steps, "analysis/steps", example="python analysis/steps.py runs/digits")
