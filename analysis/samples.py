"""Draw samples beside real data: columns are guidance weights, the rows of a grid of images are classes.

    python analysis/samples.py runs/digits
    python analysis/samples.py runs/digits 'guidance.w=[0,1,2,4]' repeats=5 solver=euler solver.steps=50

The noise is the same for every w, so that one sees what guidance alone does. The first column is real data. Points in
the plane are coloured by class. Settings: recipes/analysis/samples.yaml. Writes samples.png, .pdf and .json (settings,
and the mean of every column) into RUN/analysis.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowguide import drawing, guidance, solvers, training
from flowguide.cli import script
from flowguide.evaluation import weights_of
from flowguide.options import check_options


@dataclass(frozen=True)
class Config:
    """What recipes/analysis/samples.yaml may say, resolved."""

    run: str
    home: str
    out: str
    guidance: Mapping[str, Any]
    solver: Mapping[str, Any]
    repeats: int = 3
    classes: int = 20
    seed: int = 0
    device: str = "auto"
    ema: bool | float = True
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("repeats", "classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be an integer of at least 1, not {getattr(self, name)}")


def samples(settings: dict[str, Any], folder: Path) -> None:
    """Sample and draw."""
    config = Config(**check_options("the script", Config, (), settings))
    weights = weights_of(config.guidance)
    solver = solvers.registry.build_from(config.solver)
    model = training.load_generative(config.run, config.ema, config.device)
    data = training.build_dataset(model.config, "train")
    node = training.with_models(config.guidance, model, config.ema)
    rules = [guidance.registry.build_from({**node, "w": w}, model) for w in weights]
    known, shape = rules[0].num_classes, tuple(data.shape)
    if known is None or not (shape == (2,) or len(shape) == 3):
        raise ValueError(
            f"a grid of samples needs a model of labelled images or points in the plane, and {config.run} is one of "
            f"{data.name}"
        )
    repeats, count = config.repeats, min(known, config.classes)
    classes = [index * known // count for index in range(count)]

    labels = torch.tensor(classes).repeat_interleave(repeats)
    real = torch.cat([data[(data.labels == label).nonzero()[:repeats, 0]] for label in classes])
    columns = [real]
    for rule in rules:
        columns.append(training.samples(model.config, rule, len(labels), labels, solver, config.seed).cpu())
    titles = ["real", *(f"$w$ = {w:g}" for w in weights)]
    drawn = figure(columns, classes, titles, repeats) if len(shape) == 3 else scatter(columns, labels, titles)
    files = drawing.save(drawn, folder / "samples")
    means = {str(w): column.mean().item() for w, column in zip(["real", *weights], columns, strict=True)}
    (folder / "samples.json").write_text(json.dumps({"settings": settings, "mean": means}, indent=1) + "\n")
    print("figure:", *files)


def figure(columns: list[torch.Tensor], classes: list[int], titles: list[str], repeats: int) -> Any:
    """The grid, columns captioned with w and rows with the class."""
    drawing.use_style()
    import matplotlib.pyplot as plt

    panels, axes = plt.subplots(
        1, len(columns), figsize=(drawing.PAGE, drawing.PAGE / len(columns) / repeats * len(classes) + 0.5)
    )
    for index, (column, ax) in enumerate(zip(columns, axes, strict=True)):
        picture = drawing.tile(column, repeats)
        ax.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(titles[index])
        ax.set_xticks([])
        ax.set_yticks([(row + 0.5) * picture.shape[0] / len(classes) for row in range(len(classes))], classes)
        ax.tick_params(length=0, labelleft=index == 0)
        ax.spines[:].set_visible(False)
    axes[0].set_ylabel("class asked for")
    panels.subplots_adjust(wspace=0.06, left=0.05, right=1, top=0.93, bottom=0.01)
    return panels


def scatter(columns: list[torch.Tensor], labels: torch.Tensor, titles: list[str]) -> Any:
    """Points in the plane, a panel per column, all on the axes of the data and some space around them."""
    drawing.use_style()
    import matplotlib.pyplot as plt

    low, high = columns[0].amin(0), columns[0].amax(0)
    (left, bottom), (right, top) = (low - 0.3 * (high - low)).tolist(), (high + 0.3 * (high - low)).tolist()
    rows = -(-len(columns) // 5)
    across = -(-len(columns) // rows)
    size = (drawing.PAGE, rows * (drawing.PAGE / across * (top - bottom) / (right - left) + 0.3) + 0.3)
    panels, axes = plt.subplots(
        rows, across, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    colours = [drawing.COLOURS[label % len(drawing.COLOURS)] for label in labels.tolist()]
    for ax in axes.flat[len(columns) :]:
        ax.set_visible(False)
    for column, title, ax in zip(columns, titles, axes.flat, strict=False):
        ax.scatter(*column.T.numpy(), s=2, c=colours, linewidths=0)
        ax.set(title=title, aspect="equal")
    axes[0, 0].set(xlim=(left, right), ylim=(bottom, top))
    panels.supxlabel("$x_1$ (data units)", fontsize=8)
    panels.supylabel("$x_2$ (data units)", fontsize=8)
    return panels


if __name__ == "__main__":
    script(samples, "analysis/samples", example="python analysis/samples.py runs/digits")
