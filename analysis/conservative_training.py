"""Compare runs by how conservative they are, how likely they find held-out data, and what guidance does to them.

    flowguide train moons run=runs/free
    flowguide train moons objective.quasi_conservative=10 run=runs/quasi
    flowguide train moons network=energy_mlp run=runs/energy
    python analysis/conservative_training.py 'runs=[runs/free,runs/quasi,runs/energy]'

A network's score is free to be the gradient of nothing; a penalty on the rotation of its Jacobian makes it quasi-
conservative, and the gradient of an energy is conservative by construction. To the left the asymmetry of the guided
data prediction against time; to the right the distance of samples from the data against the weight: of images the
Frechet distance of 'flowguide evaluate', of points the sliced Wasserstein distance from held-out data, class by class.
The table has the negative log-likelihood of held-out data, in bits per dimension of images and nats per dimension of
points. Bands are two standard errors, and a standard deviation over seeds. Settings: recipes/analysis/
conservative_training.yaml. Writes conservative_training.png, .pdf, .csv and .json into runs/conservative_training.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

import flowguide as fg
from flowguide import diagnostics, drawing, guidance, metrics, solvers, training
from flowguide.cli import script
from flowguide.cli.main import of_run
from flowguide.distances import sliced
from flowguide.evaluation import REAL, EvaluateConfig, evaluate, summarise, write_csv
from flowguide.fields import Field
from flowguide.randomness import normal

_DIRECTIONS = 64  # of the sliced Wasserstein distance
Row = dict[str, Any]


def conservative_training(settings: dict[str, Any], folder: Path) -> dict[str, list[Row]]:
    """Measure every run, draw, write the numbers: rows of asymmetry, of distance, and a summary per run."""
    runs, shown, times = (settings.pop(name) for name in ("runs", "shown", "times"))
    states, probes = (settings.pop(name) for name in ("states", "probes"))
    check(runs, shown, times, states)
    config = EvaluateConfig.of({**settings, "run": runs[0], "home": runs[0]})
    found: dict[str, list[Row]] = {"asymmetry": [], "distance": [], "summary": []}
    shapes = set()
    for run in runs:
        model = training.load_generative(run, config.ema, config.device)
        shapes.add((model.config.data["name"], tuple(model.config.shape)))
        if len(shapes) > 1:
            raise ValueError(f"the runs must be of one data set, and these are of {' and '.join(map(str, shapes))}")
        label = Path(run).name
        print(label, flush=True)
        asymmetries = measure_asymmetry(model, label, shown, times, states, probes)
        distances = measure_distance(model, label, replace(config, run=run, home=run))
        best = min(distances, key=lambda row: row["distance"])
        nll, error = held_out(model, states)
        found["asymmetry"] += asymmetries
        found["distance"] += distances
        found["summary"].append(
            {"run": label, "parameters": sum(p.numel() for p in model.parameters()),
             **{f"asymmetry_w{w:g}": root_mean(asymmetries, w) for w in shown},
             "nll": nll, "nll_error": error, "best_w": best["w"], "best_distance": best["distance"]}
        )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("asymmetry", "distance"):
        write_csv(folder / f"conservative_training_{name}.csv", found[name])
    (folder / "conservative_training.json").write_text(json.dumps({"runs": runs, **found}, indent=1) + "\n")
    print(table(found["summary"], shown))
    print("figure:", *drawing.save(figure(found, shown, model), folder / "conservative_training"))
    return found


def check(runs: Any, shown: Any, times: Any, states: Any) -> None:
    """ValueError unless the settings of this script fit."""
    if not (isinstance(runs, list) and runs and all(isinstance(run, str) for run in runs)):
        raise ValueError(f"runs must be a list of run folders, not {runs!r}")
    for run in runs:
        of_run([run], "")  # says so if there is no such run
    for name, values in (("shown", shown), ("times", times)):
        if not (isinstance(values, list) and values and all(isinstance(v, (int, float)) for v in values)):
            raise ValueError(f"{name} must be a list of numbers, not {values!r}")
    if not (isinstance(states, int) and states >= 2):
        raise ValueError(f"states must be an integer of at least 2, not {states!r}")


def held_out_data(model: Field, count: int) -> tuple[Tensor, Tensor]:
    """Held-out data and labels, on the model's device."""
    test, device = training.build_dataset(model.config, "test"), next(model.parameters()).device
    if test.labels is None:
        raise ValueError(f"this compares models of labelled data, and {test.name} has no labels")
    return test.to(device).batch(torch.arange(min(count, len(test))))


def measure_asymmetry(
    model: Field, label: str, shown: Sequence[float], times: Sequence[float], count: int, probes: int
) -> list[Row]:
    """The asymmetry of the guided data prediction at held-out data under noise."""
    data, labels = held_out_data(model, count)
    noise = normal(data.shape, 0, device=data.device)
    asymmetry = diagnostics.build("asymmetry", probes=probes)
    rows = []
    with tqdm(total=len(shown) * len(times), desc="asymmetry", unit="point", leave=False) as bar:
        for w in shown:
            rule = guidance.build("cfg", model, w=float(w))
            for t in times:
                x = model.path.interpolate(data, noise, torch.tensor(t, device=data.device)).x
                found = asymmetry(rule, x, t, labels)
                sizes = (float(found.parts[name].mean()) for name in ("asymmetric", "size"))
                rows.append(
                    {"run": label, "w": w, "t": t, "asymmetry": found.value, "error": found.error,
                     **dict(zip(("asymmetric", "size"), sizes, strict=True))}
                )  # fmt: skip
                bar.update()
    return rows


def root_mean(rows: Sequence[Row], w: float) -> float:
    """The root mean square of the asymmetry over times."""
    squares = [row["asymmetry"] ** 2 for row in rows if row["w"] == w]
    return math.sqrt(sum(squares) / len(squares))


def measure_distance(model: Field, label: str, config: EvaluateConfig) -> list[Row]:
    """The distance of samples from the data at every weight, mean and standard deviation over seeds."""
    if len(model.config.shape) == 3:
        name = config.metrics[0]
        summary = summarise(evaluate(config, Path(config.home) / "evaluation"), [name])
        points = [(row["w"], row[name], row[f"{name}_std"]) for row in summary if row["rule"] != REAL]
    else:
        points = [(w, *of_points(model, w, config)) for w in config.swept]
    return [{"run": label, "w": w, "distance": distance, "std": std} for w, distance, std in points]


def of_points(model: Field, w: float, config: EvaluateConfig) -> tuple[float, float]:
    """The sliced Wasserstein distance of guided samples from held-out data, averaged over classes."""
    data, labels = held_out_data(model, config.num or 4000)
    rule = guidance.registry.build_from({**training.with_models(config.guidance, model), "w": w}, model)
    solver = solvers.registry.build_from(config.solver)
    dim = data[0].numel()
    directions = torch.nn.functional.normalize(normal((_DIRECTIONS, dim), 0, dtype=torch.float64), dim=1)
    found = []
    for seed in config.seeds:
        samples = training.samples(model.config, rule, len(data), labels, solver, seed)
        projected = [each.flatten(1).double().cpu() @ directions.T for each in (samples, data)]
        of_class = [sliced(*(each[labels.cpu() == label] for each in projected)) for label in labels.unique().tolist()]
        found.append(sum(of_class) / len(of_class))
    values = torch.tensor(found, dtype=torch.float64)
    return float(values.mean()), float(values.std()) if len(values) > 1 else 0.0


def held_out(model: Field, count: int) -> tuple[float, float]:
    """Negative log-likelihood of held-out data per dimension, with its standard error: bits of images, else nats."""
    data, labels = held_out_data(model, count)
    model.requires_grad_(False)
    if data.ndim == 4:
        values = training.build_dataset(model.config, "test").samples.unique()  # of all: a few may lack some
        lattice = {"levels": len(values), "low": float(values[0]), "high": float(values[-1])}
        each = fg.bits_per_dim(model, data, labels, **lattice, rtol=1e-3, atol=1e-3)
    else:
        each = -fg.log_likelihood(model, data, labels) / data[0].numel()
    return float(each.mean()), float(each.std() / len(each) ** 0.5)


def table(summary: Sequence[Row], shown: Sequence[float]) -> str:
    """A line per run."""
    width = max(len(row["run"]) for row in summary)
    head = "".join(f"{f'asymmetry, w = {w:g}':>20}" for w in shown)
    lines = [f"{'':{width}}{'parameters':>12}{head}{'held-out nll':>20}{'best distance':>16}{'at w':>7}"]
    for row in summary:
        cells = "".join(f"{row[f'asymmetry_w{w:g}']:>20.3g}" for w in shown)
        nll = f"{row['nll']:.3f} ± {row['nll_error']:.3f}"
        lines.append(
            f"{row['run']:{width}}{row['parameters']:>12}{cells}{nll:>20}{row['best_distance']:>16.4g}{row['best_w']:>7g}"
        )
    return "\n".join(lines)


def figure(found: dict[str, list[Row]], shown: Sequence[float], model: Field) -> Any:
    """Asymmetry against time for the weights shown, and distance against the weight; a colour per run."""
    drawing.use_style()
    import matplotlib.pyplot as plt

    names = [row["run"] for row in found["summary"]]
    panels, axes = plt.subplots(1, len(shown) + 1, figsize=(drawing.PAGE, 2.1), layout="constrained")
    for name, colour in zip(names, drawing.COLOURS, strict=False):
        style = {"color": colour, "label": name, "markersize": 2.5}
        for w, ax in zip(shown, axes, strict=False):
            rows = [row for row in found["asymmetry"] if (row["run"], row["w"]) == (name, w)]
            columns = ([row[key] for row in rows] for key in ("t", "asymmetry", "error"))
            t, mean, error = columns
            drawing.band(ax, t, mean, [2 * e for e in error], **style)
        rows = sorted((row for row in found["distance"] if row["run"] == name), key=lambda row: row["w"])
        drawing.band(axes[-1], *([row[key] for row in rows] for key in ("w", "distance", "std")), **style)
    for w, ax in zip(shown, axes, strict=False):
        ax.set(title=f"asymmetry, $w$ = {w:g}", xlabel="$t$ (0 noise, 1 data)")
        ax.set_ylim(bottom=0)
    axes[0].set_ylabel(r"$\|J - J^\top\|_F\,/\,\|J\|_F$")
    images = len(model.config.shape) == 3
    title = metrics.registry.get("frechet_distance").title if images else "sliced Wasserstein"
    axes[-1].set(title="distance from the data", xlabel="guidance weight $w$", ylabel=title)
    axes[-1].set_ylim(bottom=0)
    panels.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return panels


if __name__ == "__main__":
    script(conservative_training, "analysis/conservative_training")
