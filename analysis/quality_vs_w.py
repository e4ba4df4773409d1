"""Draw quality against the guidance weight: Frechet distance, Inception-style score and label accuracy, best w marked.

    python analysis/quality_vs_w.py runs/digits
    python analysis/quality_vs_w.py runs/digits 'guidance.w=[0,1,2,4]' 'seeds=[0,1,2,3,4]' solver.steps=20
    python analysis/quality_vs_w.py runs/digits 'rules=[cfg,apg,{name: interval, low: 0.6}]'
    python analysis/quality_vs_w.py runs/digits rules=every 'metrics=[frechet_distance,precision,recall]'
    python analysis/quality_vs_w.py runs/digits 'solvers=[auto,{name: euler_maruyama, steps: 50}]'
    python analysis/quality_vs_w.py runs/digits 'steps=[4,8,16,32]'
    python analysis/quality_vs_w.py runs/digits 'ema=[0.03,0.05,0.1,0.2]'

A line is the mean over seeds, the band one standard deviation to each side, the dashed line real held-out data; a star
marks the best weight. The last panel has the Frechet distance against the Inception score, a point per weight, and real
held-out data as a cross. Several rules, solvers, numbers of steps, or averages of the weights are drawn over one
another, from the same noise, with a table of each at its best. Averages are drawn against their lengths too, of a run
that keeps snapshots of averages ('flowguide ema --help'); true is the run's own. Points that 'flowguide evaluate' or
this script has measured before are not measured again. Settings: recipes/analysis/quality_vs_w.yaml. Writes
quality_vs_w.png, .pdf and quality.csv, .json into RUN/analysis; of several, quality_of_rules.png, .pdf, .csv and .json,
or quality_of_solvers, quality_of_steps, quality_of_averages.
"""

from pathlib import Path
from typing import Any

import quality_of_averages
import quality_of_rules
import quality_of_solvers
from quality_curves import caption, trade_off

from flowguide import drawing, metrics
from flowguide.cli import script
from flowguide.evaluation import EvaluateConfig, Row, evaluate, summarise, write_tables


def quality_vs_w(settings: dict[str, Any], folder: Path) -> list[Row]:
    """Measure, write the tables, draw the figure; the rows that were measured."""
    several = {name: settings.pop(name) for name in ("rules", "solvers", "steps")}
    every = settings.pop("every")
    several["ema"] = settings["ema"] if isinstance(settings["ema"], list) else None
    asked = [name for name, value in several.items() if value is not None]
    if len(asked) > 1:
        raise ValueError(f"a figure has a curve for each of one thing: set {asked[0]} or {asked[1]}, and not both")
    if several["ema"] is not None:
        return quality_of_averages.quality_of_averages(settings, folder)
    if several["rules"] is not None:
        rules = every if several["rules"] == "every" else several["rules"]
        return quality_of_rules.quality_of_rules(settings, rules, folder)
    if several["solvers"] is not None:
        return quality_of_solvers.quality_of_solvers(settings, several["solvers"], folder)
    if several["steps"] is not None:
        return quality_of_solvers.quality_of_steps(settings, several["steps"], folder)
    config = EvaluateConfig.of(settings)
    rows = evaluate(config, Path(config.home) / "evaluation")
    print(write_tables(rows, config.metrics, folder))
    files = drawing.save(figure(rows, config.metrics), folder / "quality_vs_w")
    print("figure:", *files)
    return rows


def figure(rows: list[Row], names: list[str]) -> Any:
    """One panel per metric, and one for the Frechet distance against the Inception score."""
    drawing.use_style()
    import matplotlib.pyplot as plt

    *summary, real = summarise(rows, names)
    summary = sorted((row for row in summary if isinstance(row["w"], float)), key=lambda row: row["w"])
    if not summary:
        raise ValueError(
            "quality is drawn against numbers; for a schedule's, guidance=schedule has one beside its shape"
        )
    w = [row["w"] for row in summary]
    pareto = {"frechet_distance", "inception_score"} <= set(names)
    count = len(names) + pareto
    panels, axes = plt.subplots(1, count, figsize=(drawing.PAGE, 2.0), layout="constrained", squeeze=False)
    for name, ax in zip(names, axes[0], strict=False):
        metric = metrics.registry.get(name)
        mean = [row[name] for row in summary]
        drawing.band(ax, w, mean, [row[f"{name}_std"] for row in summary], color=drawing.BLUE, clip_on=False)
        if real[name] is not None:
            ax.axhline(real[name], color=drawing.BLACK, linestyle="--", linewidth=0.8)
        best = (min if metric.better == "lower" else max)(range(len(w)), key=mean.__getitem__)
        ax.plot(w[best], mean[best], "*", color=drawing.RED, markersize=10, clip_on=False, zorder=3)
        word = {"lower": "lowest", "higher": "highest"}[metric.better]
        ax.set(title=f"{word} at w = {w[best]:g}: {mean[best]:.3g}", xlabel="guidance weight $w$", ylabel=metric.title)
        if metric.better == "lower":
            ax.set_ylim(bottom=0)
    if pareto:
        trade_off(axes[0][-1], summary, [(summary[0]["rule"], drawing.BLUE)])
        axes[0][-1].plot(real["inception_score"], real["frechet_distance"], "x", color=drawing.BLACK, markersize=5)
    panels.supxlabel(f"{caption(rows[0], summary[0]['seeds'])} Star: best.", fontsize=6)
    return panels


if __name__ == "__main__":
    script(quality_vs_w, "analysis/quality_vs_w", example="python analysis/quality_vs_w.py runs/digits")
