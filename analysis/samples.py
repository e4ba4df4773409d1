"""Draw a grid of samples: rows are classes, columns guidance weights, the first column real data.

    python analysis/samples.py runs/digits
    python analysis/samples.py runs/digits 'guidance.w=[0,1,2,4]' repeats=5 solver=euler solver.steps=50

Along a row the noise is the same for every w, so that one sees what guidance alone does. Settings: recipes/analysis/
samples.yaml. Writes samples.png, .pdf and .json (settings, and mean pixel per cell) into RUN/analysis.
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
    seed: int = 0
    device: str = "auto"
    ema: bool | float = True
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise ValueError(f"repeats must be an integer of at least 1, not {self.repeats}")


def samples(settings: dict[str, Any], folder: Path) -> None:
    """Sample and draw."""
    config = Config(**check_options("the script", Config, (), settings))
    weights = weights_of(config.guidance)
    solver = solvers.registry.build_from(config.solver)
    model = training.load_generative(config.run, config.ema, config.device)
    data = training.build_dataset(model.config, "train")
    node = training.with_models(config.guidance, model, config.ema)
    rules = [guidance.registry.build_from({**node, "w": w}, model) for w in weights]
    classes = rules[0].num_classes
    if len(data.shape) != 3 or classes is None:
        raise ValueError(f"a grid of samples needs a model of labelled images, and {config.run} is one of {data.name}")
    repeats = config.repeats

    labels = torch.arange(classes).repeat_interleave(repeats)
    real = torch.cat([data[(data.labels == label).nonzero()[:repeats, 0]] for label in range(classes)])
    columns = [real]
    for rule in rules:
        columns.append(training.samples(model.config, rule, len(labels), labels, solver, config.seed).cpu())
    files = drawing.save(figure(columns, classes, weights, repeats), folder / "samples")
    means = {str(w): column.mean().item() for w, column in zip(["real", *weights], columns, strict=True)}
    (folder / "samples.json").write_text(json.dumps({"settings": settings, "mean_pixel": means}, indent=1) + "\n")
    print("figure:", *files)


def figure(columns: list[torch.Tensor], classes: int, weights: list[float], repeats: int) -> Any:
    """The grid, columns captioned with w and rows with the class."""
    drawing.use_style()
    import matplotlib.pyplot as plt

    panels, axes = plt.subplots(
        1, len(columns), figsize=(drawing.PAGE, drawing.PAGE / len(columns) / repeats * classes + 0.5)
    )
    for index, (column, ax) in enumerate(zip(columns, axes, strict=True)):
        picture = drawing.tile(column, repeats)
        ax.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title("real" if index == 0 else f"$w$ = {weights[index - 1]:g}")
        ax.set_xticks([])
        ax.set_yticks([(row + 0.5) * picture.shape[0] / classes for row in range(classes)], range(classes))
        ax.tick_params(length=0, labelleft=index == 0)
        ax.spines[:].set_visible(False)
    axes[0].set_ylabel("class asked for")
    panels.subplots_adjust(wspace=0.06, left=0.05, right=1, top=0.93, bottom=0.01)
    return panels


if __name__ == "__main__":
    script(samples, "analysis/samples", example="python analysis/samples.py runs/digits")
