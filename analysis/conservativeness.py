"""Draw how far a guided prediction is from being a gradient: the asymmetry of its Jacobian, against time and weight.

    python analysis/conservativeness.py runs/digits
    python analysis/conservativeness.py runs/digits guidance=apg 'guidance.w=[1,2,4]' kind=score num=256 probes=8

A score is a gradient, and a mix of scores is one too: the Jacobian is symmetric, and a guided score is that of some
density, and has a classifier behind it. The output of a network need be no gradient. The asymmetry
||J - J^T|| / ||J|| is 0 for a gradient and 2 for a field that does nothing but turn; ``w -> infinity`` is that of the
difference of the two predictions, the gradient of the implicit classifier if there is one. The states are held-out data
under noise, the same for all weights; bands are two standard errors. Dashed, to see what rounding does, the same of an
exact field: the mixture of a Gaussian per class that is fitted to the training data. Settings: recipes/analysis/
conservativeness.yaml. Writes conservativeness.png, .pdf, .csv and .json into RUN/analysis.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from flowguide import diagnostics, drawing, guidance, training
from flowguide.cli import script
from flowguide.data import Samples
from flowguide.evaluation import weights_of, write_csv
from flowguide.fields import Field, GaussianMixture, MixtureField
from flowguide.options import check_options
from flowguide.randomness import normal

_INFINITE = 1e4  # a weight that leaves nothing but the difference
Row = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """What recipes/analysis/conservativeness.yaml may say, resolved."""

    run: str
    home: str
    out: str
    guidance: Mapping[str, Any]
    times: Sequence[float]
    implicit: bool = True
    kind: str = "data"
    num: int = 128
    probes: int = 4
    seed: int = 0
    device: str = "auto"
    ema: bool | float = True
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.num < 2:
            raise ValueError(f"num must be an integer of at least 2, not {self.num}")
        if not self.times or not all(0 <= t <= 1 for t in self.times):
            raise ValueError(f"times must be a list of times in [0, 1], not {list(self.times)}")


def conservativeness(settings: dict[str, Any], folder: Path) -> list[Row]:
    """Measure, draw, write the numbers; a row per weight and time."""
    config = Config(**check_options("the script", Config, (), settings))
    model = training.load_generative(config.run, config.ema, config.device)
    if model.num_classes is None:
        raise ValueError(f"{config.run} holds a model without labels, which guidance has no weight for")
    weights = [*weights_of(config.guidance), *([math.inf] if config.implicit else [])]
    rows = measure(model, weights, config)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "conservativeness.csv", rows)
    found = headline(rows)
    about = {"settings": settings, "headline": found, "rows": rows}
    (folder / "conservativeness.json").write_text(json.dumps(about, indent=1).replace("Infinity", '"infinity"') + "\n")
    print("\n".join(f"{name}: {value:.3g}" for name, value in found.items()))
    print("figure:", *drawing.save(figure(rows, config), folder / "conservativeness"))
    return rows


def measure(model: Field, weights: Sequence[float], config: Config) -> list[Row]:
    """The asymmetry of the model and of the exact field beside it, at every weight and time."""
    device = next(model.parameters()).device
    test, train = (training.build_dataset(model.config, split) for split in ("test", "train"))
    chosen = torch.arange(config.num) % len(test)
    data, labels = test.to(device).batch(chosen)
    noise = normal(data.shape, config.seed, device=device)
    exact = MixtureField(fitted(train), model.path)
    node = training.with_models(config.guidance, model, config.ema)
    asymmetry = diagnostics.build("asymmetry", kind=config.kind, probes=config.probes, seed=config.seed)
    rows = []
    with tqdm(total=len(weights) * len(config.times), desc="measuring", unit="point") as bar:
        for w in weights:
            given = {**node, "w": min(w, _INFINITE)} if math.isfinite(w) else {"name": "cfg", "w": _INFINITE}
            rule = guidance.registry.build_from(given, model)
            floor = guidance.build("cfg", exact, w=min(w, _INFINITE))
            for t in config.times:
                x = model.path.interpolate(data, noise, torch.tensor(t, device=device)).x
                found = asymmetry(rule, x, t, labels)
                truth = asymmetry(floor, x.flatten(1), t, labels)
                value = {"asymmetry": found.value, "error": found.error, "nasym": found.parts["nasym"]}
                rows.append({"w": w, "t": t, **value, "exact": truth.value})
                bar.update()
    return rows


def fitted(train: Samples) -> GaussianMixture:
    """A Gaussian per class with the mean and the covariance of its data."""
    data, classes = train.samples.flatten(1).double(), range(int(train.labels.max()) + 1)
    of_class = [data[train.labels == label] for label in classes]
    ridge = 1e-2 * torch.eye(of_class[0].shape[1], dtype=torch.float64)  # pixels that never change have no variance
    return GaussianMixture(
        torch.tensor([float(len(points)) for points in of_class]),
        torch.stack([points.mean(0) for points in of_class]),
        torch.stack([points.mT.cov() + ridge for points in of_class]),
    )


def headline(rows: Sequence[Row]) -> dict[str, float]:
    """The largest asymmetry of each weight, and of the exact field."""
    peaks = {w: max((row for row in rows if row["w"] == w), key=lambda row: row["asymmetry"]) for w in by_weight(rows)}
    found = {f"largest asymmetry at {name_of(w)} (t = {peak['t']:g})": peak["asymmetry"] for w, peak in peaks.items()}
    return {**found, "largest of the exact field": max(row["exact"] for row in rows)}


def by_weight(rows: Sequence[Row]) -> list[float]:
    """The weights, in order."""
    return list(dict.fromkeys(row["w"] for row in rows))


def name_of(w: float) -> str:
    """A weight in a legend."""
    return f"w = {w:g}" if math.isfinite(w) else "w → ∞"


def figure(rows: list[Row], config: Config) -> Any:
    """A heat map over time and weight, and a curve per weight."""
    drawing.use_style()
    import matplotlib.pyplot as plt

    weights, times = by_weight(rows), list(config.times)
    values = torch.tensor([row["asymmetry"] for row in rows]).reshape(len(weights), len(times))
    size = (drawing.PAGE, 2.4)
    panels, (left, right) = plt.subplots(1, 2, figsize=size, layout="constrained", width_ratios=(1.1, 1))
    image = left.imshow(values.numpy(), aspect="auto", origin="lower", cmap="viridis", vmin=0)
    left.set_xticks(range(len(times)), [f"{t:g}" for t in times], rotation=45)
    left.set_yticks(range(len(weights)), [f"{w:g}" if math.isfinite(w) else "∞" for w in weights])
    for i, of_weight in enumerate(values):
        for j, value in enumerate(of_weight.tolist()):
            bright = value > 0.6 * float(values.max())
            left.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=5, color="black" if bright else "white")
    left.set(xlabel="$t$ (0 noise, 1 data)", ylabel="guidance weight $w$")
    panels.colorbar(image, ax=left, label="asymmetry")
    colours = plt.get_cmap("viridis")(torch.linspace(0, 0.9, len(weights)).numpy())
    for w, colour in zip(weights, colours, strict=True):
        of_w = [row for row in rows if row["w"] == w]
        errors = [2 * row["error"] for row in of_w]
        style = {"color": colour, "label": name_of(w), "markersize": 2}
        drawing.band(right, times, [row["asymmetry"] for row in of_w], errors, **style)
    exact = [max(row["exact"] for row in rows if row["t"] == t) for t in times]
    right.plot(times, exact, "--", color=drawing.BLACK, label=f"exact field\n(≤ {max(exact):.0e})")
    right.set(xlabel="$t$ (0 noise, 1 data)", ylabel=r"$\|J - J^\top\|_F\,/\,\|J\|_F$")
    right.set_ylim(bottom=-0.01 * float(values.max()))
    right.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    kind = {"data": "data prediction"}.get(config.kind, config.kind)
    panels.supxlabel(f"Jacobian of the {kind} at {config.num} held-out data under noise.", fontsize=6)
    return panels


if __name__ == "__main__":
    script(conservativeness, "analysis/conservativeness", example="python analysis/conservativeness.py runs/digits")
