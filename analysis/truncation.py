"""Compare guidance with low temperatures: less noise to start from, less noise on the way, or a larger score.

    python analysis/truncation.py runs/digits
    python analysis/truncation.py runs/digits 'families.guidance=[1,2,4]' 'seeds=[0,1,2]'

Other generative models trade variety for quality by a low temperature, or a truncated prior. Guidance was invented for
want of such a knob: a factor on the noise that a flow starts from (``start``), on the noise of its SDE (``noise``) or
on the score in that SDE (``score``), each for conditional samples without guidance. A line per knob, a point per
setting; the first of each is the plain one. On the left the Frechet distance against the Inception score, as in
quality_vs_w.py; then precision against recall; then accuracy and distance against how far the knob is turned. Settings:
recipes/analysis/truncation.yaml. Writes truncation.png, .pdf, .csv and .json into RUN/analysis. Source: Ho & Salimans
(2022), arXiv 2207.12598, section 1.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from quality_curves import as_logarithm

from flowguide import drawing, metrics, solvers
from flowguide.cli import script
from flowguide.evaluation import EvaluateConfig, Row, Views, evaluate, summarise, write_csv

# What a setting of each knob makes of the configuration of plain conditional samples.
KNOBS: dict[str, Callable[[EvaluateConfig, Mapping[str, Any], float], EvaluateConfig]] = {
    "guidance": lambda config, sde, value: replace(config, guidance={**config.guidance, "w": value}),
    "start": lambda config, sde, value: replace(config, temperature=value),
    "noise": lambda config, sde, value: replace(config, solver={**sde, "noise_scale": value}),
    "score": lambda config, sde, value: replace(config, solver={**sde, "score_scale": value}),
}
TITLES = {"guidance": "guidance weight", "start": "noise at the start", "noise": "noise of the SDE", "score": "score"}
PANELS = (("inception_score", "frechet_distance"), ("recall", "precision"), ("recall", "label_accuracy"))


def truncation(settings: dict[str, Any], folder: Path) -> list[Row]:
    """Measure, write the tables, draw the figure; the rows that were measured, the real data last."""
    families, sde = settings.pop("families"), settings.pop("sde")
    unknown = [name for name in families if name not in KNOBS]
    if unknown or not families:
        raise ValueError(f"families are settings of {', '.join(KNOBS)}, not of {', '.join(unknown) or 'nothing'}")
    config = EvaluateConfig.of(settings)
    plain = replace(config, guidance={**config.guidance, "w": 1.0})
    asked: list[tuple[str, float, EvaluateConfig]] = []
    for family, values in families.items():
        if not (isinstance(values, list) and values and all(isinstance(value, (int, float)) for value in values)):
            raise ValueError(f"families.{family} is a list of numbers, not {values!r}")
        for value in values:
            chosen = KNOBS[family](plain, sde, float(value))
            solvers.registry.build_from(chosen.solver)  # now, for what is wrong to be said before anything is drawn
            asked.append((family, value, chosen))
    rows: list[Row] = []
    views = Views()
    for family, value, chosen in asked:
        print(f"{TITLES[family]} {value:g}", flush=True)
        *points, real = evaluate(chosen, Path(config.home) / "evaluation", rule=f"{family} {value:g}", views=views)
        rows += [{"family": family, "value": value, **point} for point in points]
    rows.append({"family": None, "value": None, **real})
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "truncation.csv", rows)
    points = summary(rows, config.metrics)
    content = {"settings": settings, "summary": points, "rows": rows}
    (folder / "truncation.json").write_text(json.dumps(content, indent=1) + "\n")
    print(table(points, config.metrics))
    print("figure:", *drawing.save(figure(rows, config.metrics), folder / "truncation"))
    return rows


def summary(rows: list[Row], names: Any) -> list[Row]:
    """Means over seeds, a row per setting, the real data last."""
    about = {row["rule"]: {"family": row["family"], "value": row["value"]} for row in rows}
    return [{**about[row["rule"]], **row} for row in summarise(rows, names)]


def table(points: list[Row], names: Any) -> str:
    """The summary as text."""
    lines = [f"{'':28}" + "".join(f"{metrics.registry.get(name).title:>20}" for name in names)]
    for row in points:
        label = "real data" if row["family"] is None else f"{TITLES[row['family']]} {row['value']:g}"
        lines.append(f"{label:28}" + "".join(f"{row[name]:>20.4g}" for name in names))
    return "\n".join(lines)


def figure(rows: list[Row], names: Any) -> Any:
    """A panel per pair of metrics that were measured."""
    drawing.use_style()
    import matplotlib.pyplot as plt

    *points, real = summary(rows, names)
    pairs = [pair for pair in PANELS if set(pair) <= set(names)]
    if not pairs:
        raise ValueError(f"truncation draws {' and '.join(map(' against '.join, PANELS))}: take metrics of these")
    panels, axes = plt.subplots(1, len(pairs), figsize=(drawing.PAGE, 2.3), layout="constrained", squeeze=False)
    for (across, along), ax in zip(pairs, axes[0], strict=True):
        for family, colour in zip(TITLES, drawing.COLOURS, strict=False):
            own = [row for row in points if row["family"] == family]
            if not own:
                continue
            x, y = [row[across] for row in own], [row[along] for row in own]
            ax.plot(x, y, "o-", color=colour, label=TITLES[family], markersize=2.5, linewidth=0.9)
            for row in (own[0], own[-1]):
                ax.annotate(f"{row['value']:g}", (row[across], row[along]), fontsize=5, color=colour,
                            xytext=(2, 2), textcoords="offset points")  # fmt: skip
        ax.plot(real[across], real[along], "x", color=drawing.BLACK, markersize=5, label="real, held out")
        if along == "frechet_distance":
            as_logarithm(ax)
        ax.set(xlabel=metrics.registry.get(across).title, ylabel=metrics.registry.get(along).title)
    axes[0][-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6)
    words = f"{rows[0]['num']} samples per point, {points[0]['seeds']} seeds; numbers: the first and the last setting."
    panels.supxlabel(f"{words}\nFeatures: {rows[0]['features']}.", fontsize=6)
    return panels


if __name__ == "__main__":
    script(truncation, "analysis/truncation", example="python analysis/truncation.py runs/digits")
