"""A curve for each of several averages of one run's weights: what ``quality_vs_w.py ema=[...]`` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quality_curves import Curve, as_logarithm, caption, in_order, line, quality_curves

from flowguide import drawing, metrics
from flowguide.evaluation import REAL, EvaluateConfig, Row, summarise

_NAMES = {True: "as trained", False: "last step"}


def quality_of_averages(settings: dict[str, Any], folder: Path) -> list[Row]:
    """Measure every average, write the tables, draw the figure; the rows that were measured, the real data last."""
    if not settings["ema"]:
        raise ValueError("ema must be true, false, a number, or a list of those that is not empty")
    configs = [EvaluateConfig.of({**settings, "ema": ema}) for ema in settings["ema"]]
    curves = [
        Curve(label_of_average(config.ema), config, {"sigma_rel": None if isinstance(config.ema, bool) else config.ema})
        for config in configs
    ]
    return quality_curves(curves, settings, folder / "quality_of_averages", figure)


def label_of_average(ema: bool | float) -> str:
    """An average in a word or two."""
    return _NAMES[ema] if isinstance(ema, bool) else f"EMA {ema:g}"


def figure(rows: Sequence[Row], names: Sequence[str]) -> Any:
    """A column per metric: above against w, a line per average; below against the length, a line per w."""
    drawing.use_style()
    import matplotlib.pyplot as plt

    summary = [row for row in summarise(rows, names) if row["rule"] != REAL and isinstance(row["w"], float)]
    if not summary:
        raise ValueError("averages are drawn against numbers; give guidance.w as a list of them")
    real = next(row for row in rows if row["rule"] == REAL)
    width_of = {row["rule"]: row["sigma_rel"] for row in rows}
    lengths = sorted({width for width in width_of.values() if width is not None})
    averages, weights = list(dict.fromkeys(row["rule"] for row in summary)), sorted({row["w"] for row in summary})
    # Lengths from dark to light, and what has none in colours of its own.
    colour_of = {label_of_average(width): each for width, each in zip(lengths, in_order(len(lengths)), strict=True)}
    colour_of |= {_NAMES[True]: drawing.RED, _NAMES[False]: drawing.PURPLE}
    count = 2 if len(lengths) > 1 else 1
    panels, axes = plt.subplots(
        count, len(names), figsize=(drawing.PAGE, 1.6 * count + 0.4), layout="constrained", squeeze=False, sharey="col"
    )
    for name, column in zip(names, axes.T, strict=True):
        metric = metrics.registry.get(name)
        for average in averages:
            colour = colour_of[average]
            points = sorted((row for row in summary if row["rule"] == average), key=lambda row: row["w"])
            line(column[0], [row["w"] for row in points], points, name, colour, average)
        column[0].set(title=metric.title, xlabel="guidance weight $w$")
        for w, colour in zip(weights, in_order(len(weights)), strict=True):
            points = [row for row in summary if row["w"] == w and width_of[row["rule"]] is not None]
            points.sort(key=lambda row: width_of[row["rule"]])
            if count > 1:
                line(column[1], [width_of[row["rule"]] for row in points], points, name, colour, f"w = {w:g}")
        if count > 1:
            column[1].set(xlabel=r"length of the average, $\sigma_{rel}$")
        for ax in column:
            if real[name] is not None:
                ax.axhline(real[name], color=drawing.BLACK, linestyle="--", linewidth=0.6)
            if metric.better == "lower":
                as_logarithm(ax)
    for ax in axes[:, -1]:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6)
    panels.supxlabel(caption(rows[0], max(row["seeds"] for row in summary)), fontsize=6)
    return panels
