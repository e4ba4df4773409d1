"""Draw how well a classifier of noisy states does on held-out data, against time: accuracy, and cross-entropy in nats.

    python analysis/classifier_accuracy.py runs/digits_noisy_classifier
    python analysis/classifier_accuracy.py runs/digits_noisy_classifier times=41 draws=20

At t = 0 there is nothing to see, and the accuracy is that of guessing (dashed; so is the entropy of the labels, which a
classifier that knows that it knows nothing reaches). At t = 1 the data are clean. A line is the mean over the held-out
data, each under several draws of noise, the band two standard errors of the mean over data. Settings: recipes/analysis/
classifier_accuracy.yaml. Writes classifier_accuracy.png, .pdf, .csv and .json into RUN/analysis.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowguide import drawing, training
from flowguide.cli import script
from flowguide.data import Samples
from flowguide.evaluation import write_csv
from flowguide.fields import Posterior
from flowguide.options import check_options
from flowguide.randomness import normal

Row = dict[str, float]


@dataclass(frozen=True)
class Config:
    """What recipes/analysis/classifier_accuracy.yaml may say, resolved."""

    run: str
    home: str
    out: str
    times: int = 21
    draws: int = 8
    seed: int = 0
    device: str = "auto"
    ema: bool | float = True
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, least in (("times", 2), ("draws", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be an integer of at least {least}, not {getattr(self, name)}")


def classifier_accuracy(settings: dict[str, Any], folder: Path) -> list[Row]:
    """Measure, draw, write the numbers; a row per time."""
    config = Config(**check_options("the script", Config, (), settings))
    model = training.load(config.run, config.ema, config.device)
    if not isinstance(model, Posterior):
        raise ValueError(
            f"{config.run} holds a {type(model).__name__}, and this draws a classifier of noisy states, such as the "
            f"recipe digits_noisy_classifier trains"
        )
    test = training.build_dataset(model.config, "test")
    rows = measure(model, test, config)
    chance = torch.bincount(test.labels).double() / len(test)
    entropy = float(torch.special.entr(chance).sum())
    files = drawing.save(figure(rows, float(chance.max()), entropy), folder / "classifier_accuracy")
    write_csv(folder / "classifier_accuracy.csv", rows)
    about = {"settings": settings, "data": test.name, "chance": float(chance.max()), "entropy": entropy, "rows": rows}
    (folder / "classifier_accuracy.json").write_text(json.dumps(about, indent=1) + "\n")
    print("figure:", *files)
    return rows


@torch.no_grad()
def measure(model: Posterior, test: Samples, config: Config) -> list[Row]:
    """Accuracy and cross-entropy at equally spaced times, with their standard errors over the data."""
    device = next(model.parameters()).device
    data, labels = test.samples.to(device), test.labels.to(device)
    noises = [normal(data.shape, config.seed, stream=draw, device=device) for draw in range(config.draws)]
    rows = []
    for t in torch.linspace(model.t_min, model.t_max, config.times, device=device):
        right, loss = torch.zeros(2, len(test), dtype=torch.float64, device=device)
        for noise in noises:
            log_probs = model(model.path.interpolate(data, noise, t).x, t)
            right += (log_probs.argmax(1) == labels) / config.draws
            loss -= log_probs.gather(1, labels[:, None])[:, 0] / config.draws
        row = {"t": float(t)}
        for name, value in (("accuracy", right), ("cross_entropy", loss)):
            row |= {name: float(value.mean()), f"{name}_error": float(value.std() / len(test) ** 0.5)}
        rows.append(row)
    return rows


def figure(rows: list[Row], chance: float, entropy: float) -> Any:
    """Two panels over time."""
    drawing.use_style()
    import matplotlib.pyplot as plt

    panels, axes = plt.subplots(1, 2, figsize=(drawing.PAGE * 0.7, 2.0), layout="constrained")
    t = torch.tensor([row["t"] for row in rows])
    titles = {"accuracy": "accuracy", "cross_entropy": "cross-entropy (nats)"}
    for ax, (name, title), dashed in zip(axes, titles.items(), (chance, entropy), strict=True):
        mean, error = (torch.tensor([row[key] for row in rows]) for key in (name, f"{name}_error"))
        ax.plot(t, mean, "o-", color=drawing.BLUE, markersize=2.5, clip_on=False)
        ax.fill_between(t, *band(mean, error), color=drawing.BLUE, alpha=0.25, linewidth=0)
        ax.axhline(dashed, color=drawing.BLACK, linestyle="--", linewidth=0.8)
        ax.set(xlabel="$t$ (0 noise, 1 data)", ylabel=title, xlim=(float(t[0]), float(t[-1])))
        ax.set_ylim(bottom=0, top=1 if name == "accuracy" else None)
    return panels


def band(mean: Tensor, error: Tensor) -> tuple[Any, Any]:
    """Two standard errors to each side."""
    return (mean - 2 * error).numpy(), (mean + 2 * error).numpy()


if __name__ == "__main__":
    script(
        classifier_accuracy,
        "analysis/classifier_accuracy",
        example="python analysis/classifier_accuracy.py runs/digits_noisy_classifier",
    )
