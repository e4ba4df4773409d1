"""Several curves of quality against the guidance weight in one figure and one table.

A curve is a rule, a solver, a number of steps or an average of the weights: whatever an evaluation may be set to. The
first is what all others are compared with: the table says of each, at its best weight by the first metric, by how much
it is better than the first one at its own best, as a mean over seeds with its standard error, seed by seed. The last
panels are those of Ho & Salimans (2022), arXiv 2207.12598, figure 4: what the Frechet distance gains, the Inception
score costs, and the other way round.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowguide import drawing, metrics
from flowguide.evaluation import REAL, EvaluateConfig, Row, Views, evaluate, label_of_weight, summarise, write_csv

_IN_A_ROW = 5  # of the figure, beside the first curve
_PARETO = ("inception_score", "frechet_distance")


@dataclass(frozen=True)
class Curve:
    """One of them.

    Attributes:
        label: What it is called.
        config: What is evaluated.
        about: Columns of its rows beside those of the evaluation.
    """

    label: str
    config: EvaluateConfig
    about: Mapping[str, Any]


def quality_curves(curves: Sequence[Curve], settings: Mapping[str, Any], file: Path, figure: Any = None) -> list[Row]:
    """Measure every curve, write the tables, draw the figure.

    Args:
        curves: At least one; what an evaluation has measured before is not measured again.
        settings: To be noted beside the numbers.
        file: Of the tables and the figure, without a suffix.
        figure: Draws the rows of the metrics; :func:`lines` if None.
    Returns:
        The rows that were measured, the real data last.
    """
    if not curves:
        raise ValueError("none of the curves could be measured")
    names = curves[0].config.metrics
    rows: list[Row] = []
    views = Views()
    for curve in curves:
        print(curve.label, flush=True)
        *points, real = evaluate(curve.config, Path(curve.config.home) / "evaluation", rule=curve.label, views=views)
        rows += [{**point, **curve.about} for point in points]
    best = bests(rows, names)
    print(table(best, names))
    rows.append({**real, **dict.fromkeys(curves[0].about)})
    write(file, rows, best, settings)
    print("figure:", *drawing.save((figure or lines)(rows, names), file))
    return rows


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
        own = [row for row in rows if (row["rule"], row["w"]) == (best["rule"], best["w"])]
        at = {(row.get("trained", 0), row["seed"]): row[first] for row in own}  # of several runs, each by itself
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
    write_csv(file.with_suffix(".csv"), rows)
    content = {"settings": settings, "best": best, "rows": rows}
    file.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


def lines(rows: Sequence[Row], names: Sequence[str], ordered: bool = False) -> Any:
    """A column per metric, and one for two of them against each other; in every row of panels some of the curves.

    Args:
        rows: As measured.
        names: Of the metrics.
        ordered: Whether the curves have an order, which their colours then show; otherwise the first is black.
    """
    drawing.use_style()
    import matplotlib.pyplot as plt

    *summary, real = summarise(rows, names)
    first, *others = list(dict.fromkeys(row["rule"] for row in summary))
    if ordered:
        labels = [first, *others]
        if all(label.replace(".", "", 1).isdigit() for label in labels):
            labels.sort(key=float)  # whichever is the one that others are compared with
        shown = [list(zip(labels, in_order(len(labels)), strict=True))]
    else:
        groups = [others[i : i + _IN_A_ROW] for i in range(0, len(others), _IN_A_ROW)] or [[]]
        shown = [[(first, drawing.BLACK), *zip(group, drawing.COLOURS, strict=False)] for group in groups]
    pareto = set(_PARETO) <= set(names)
    count = len(names) + pareto
    size = (drawing.PAGE, 1.35 * len(shown) + 0.5)
    panels, axes = plt.subplots(len(shown), count, figsize=size, layout="constrained", squeeze=False, sharey="col")
    for group, row in zip(shown, axes, strict=True):
        for name, ax in zip(names, row, strict=False):
            for curve, colour in group:
                points = [p for p in summary if p["rule"] == curve and not isinstance(p["w"], str)]
                points.sort(key=lambda p: p["w"] or 0)
                w = [1.0 if p["w"] is None else p["w"] for p in points]
                line(ax, w, points, name, colour, curve)
            if real[name] is not None:
                ax.axhline(real[name], color=drawing.BLACK, linestyle="--", linewidth=0.6)
            if metrics.registry.get(name).better == "lower":
                as_logarithm(ax)
            against_weights(ax, summary)
        if pareto:
            trade_off(row[-1], summary, group)
        row[-1].legend(*row[0].get_legend_handles_labels(), loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6)
    for name, ax in zip(names, axes[0], strict=False):
        ax.set_title(metrics.registry.get(name).title, fontsize=7)
    for ax in axes[-1][: len(names)]:
        ax.set_xlabel("guidance weight $w$", fontsize=7)
    panels.supxlabel(caption(rows[0], max(row["seeds"] for row in summary)), fontsize=6)
    return panels


def trade_off(ax: Any, summary: Sequence[Row], curves: Sequence[tuple[str, Any]]) -> None:
    """The Frechet distance against the Inception score, a point per weight and a star at the lowest distance."""
    across, along = _PARETO
    for curve, colour in curves:
        points = sorted((p for p in summary if p["rule"] == curve and isinstance(p["w"], float)), key=lambda p: p["w"])
        if not points:
            continue
        ax.plot(
            [p[across] for p in points], [p[along] for p in points], "o-", color=colour, markersize=2, linewidth=0.9
        )
        best = min(points, key=lambda p: p[along])
        ax.plot(best[across], best[along], "*", color=colour, markersize=7, zorder=3)
    as_logarithm(ax)
    ax.set_title(f"{metrics.registry.get(along).title}, star: best", fontsize=7)
    ax.set_xlabel(metrics.registry.get(across).title, fontsize=7)


def line(ax: Any, x: Sequence[float], points: Sequence[Row], name: str, colour: Any, label: str) -> None:
    """A metric along some rows of the summary, with its spread."""
    spread = [row[f"{name}_std"] for row in points]
    style = {"color": colour, "label": label, "markersize": 2, "linewidth": 0.9}
    drawing.band(ax, x, [row[name] for row in points], spread, **style)


def as_logarithm(ax: Any) -> None:
    """A logarithmic axis whose ticks are numbers."""
    from matplotlib.ticker import LogLocator

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("")


def against_weights(ax: Any, summary: Sequence[Row]) -> None:
    """An axis of weights that is wide where most happens."""
    most = max((row["w"] for row in summary if isinstance(row["w"], float)), default=1.0)
    ax.set_xscale("function", functions=(_root, _square))
    ax.set_xticks([tick for tick in (0, 1, 2, 4, 8, 16) if tick <= most])


def in_order(count: int) -> list[Any]:
    """Colours from dark to light, in an order that one sees."""
    import matplotlib

    return [matplotlib.colormaps["viridis"](0.9 * index / max(1, count - 1)) for index in range(count)]


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
