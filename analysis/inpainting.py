"""Complete held-out images of which a part is seen: rows are the truth, what is seen, and the samples of each rule.

    python analysis/inpainting.py runs/digits
    python analysis/inpainting.py runs/digits 'observation={name: mask, hidden: random, share: 0.7}'
    python analysis/inpainting.py runs/digits 'observation={name: downsample, factor: 2}' 'rules=[pigdm, dps]'

Every rule draws one sample for every image, without a label, from the same noise. What is measured: the root mean
square difference to the truth, in data units, of what is seen and of the image; how often flowguide's own classifier
finds the label of the image in the sample; and the evaluations of the network per sample. 'as seen' is the likeliest
image before any model, for data of unit variance, and 'no rule' are samples that know nothing of it. Settings:
recipes/analysis/inpainting.yaml. Writes inpainting.png, .pdf, .csv and .json into RUN/analysis.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowguide import drawing, guidance, observations, solvers, training
from flowguide.cli import script
from flowguide.evaluation import judge_for, write_csv
from flowguide.observations.mask import Mask
from flowguide.options import check_options

Row = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """What recipes/analysis/inpainting.yaml may say, resolved."""

    run: str
    home: str
    out: str
    observation: Mapping[str, Any] | str
    rules: Sequence[Any]
    solver: Mapping[str, Any]
    classifier: Mapping[str, Any]
    num: int = 100
    shown: int = 10
    seed: int = 0
    batch_size: int = 128
    device: str = "auto"
    ema: bool | float = True
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.shown <= self.num:
            raise ValueError(f"shown is how many of the num={self.num} images are drawn, not {self.shown}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be an integer of at least 1, not {self.batch_size}")
        if not self.rules:
            raise ValueError("rules must be a list of rules, each a name or a node, not []")

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """A node per rule, with the solver that it is to have under 'solver'."""
        nodes = [{"name": rule} if isinstance(rule, str) else dict(rule) for rule in self.rules]
        for node in nodes:
            if "observation" not in guidance.registry.options(node.get("name")):
                raise ValueError(f"{node.get('name')} is guided by no observation: take dps, pigdm or the like")
        return [{**node, "solver": {**self.solver, **node.get("solver", {})}} for node in nodes]


def inpainting(settings: dict[str, Any], folder: Path) -> list[Row]:
    """Sample with every rule, measure, draw; a row per rule, after those of the truth, of what is seen and of none."""
    config = Config(**check_options("the script", Config, (), settings))
    nodes = config.nodes
    model = training.load_generative(config.run, config.ema, config.device)
    test = training.build_dataset(model.config, "test")
    if len(test.shape) != 3 or test.num_classes is None or model.needs_condition:
        raise ValueError(f"this completes labelled images without a label, and {config.run} is of {test.name}")
    see = observations.registry.choose(config.observation)
    see.check(test.shape)
    index = chosen(test.labels, config.num)
    device = next(model.parameters()).device
    truth, labels = test[index].to(device), test.labels[index].to(device)
    seen = see.observe(truth, config.seed)
    judge = judge_for(model.config.data, config.classifier, config.device)
    work = Work(model)

    columns: dict[str, tuple[Tensor, float]] = {
        "truth": (truth, 0.0),
        "as seen": (see.transpose(see.solve(seen, see.std**2, 1.0, test.shape), test.shape), 0.0),
    }
    options = {"seed": config.seed, "batch_size": config.batch_size}
    for node in [None, *nodes]:
        solver = solvers.registry.build_from(node["solver"] if node else config.solver)
        rule = model
        if node:
            given = {key: value for key, value in node.items() if key != "solver"}
            rule = guidance.registry.build_from(given, model, observation=see, observed=seen)
        work.samples = 0
        samples = training.samples(model.config, rule, len(truth), None, solver, **options)
        name = caption(node) if node else "no rule"
        columns[name] = samples, work.samples / len(truth)
        print(f"{name}: {work.samples / len(truth):.0f} evaluations per sample", flush=True)

    rows = []
    for name, (images, evaluations) in columns.items():
        logits = judge.classifier.classify(judge.classifier.features(images.clamp(-1, 1)))
        rows.append(
            {
                "rule": name,
                "rmse_seen": rms(see(images) - see(truth), see(torch.ones_like(truth)) != 0),
                "rmse": rms(images - truth),
                "label_accuracy": float((logits.argmax(1) == labels).double().mean()),
                "evaluations": evaluations,
            }
        )
    shown = chosen(labels.cpu(), config.shown)
    pictures = {name: images[shown.to(device)].cpu() for name, (images, _) in columns.items()}
    hidden = ~see.mask(test.shape) if isinstance(see, Mask) else None
    files = drawing.save(figure(pictures, rows, hidden), folder / "inpainting")
    write(rows, {"settings": settings, "data": test.name, "num": len(truth), "judge": judge.features}, folder)
    print("figure:", *files)
    return rows


class Work:
    """Counts the samples that a model's network is evaluated at."""

    def __init__(self, model: Any) -> None:
        self.samples = 0
        model.network.register_forward_pre_hook(self.count)

    def count(self, _: Any, inputs: tuple[Any, ...]) -> None:
        self.samples += len(inputs[0])


def chosen(labels: Tensor, count: int) -> Tensor:
    """Indices of so many samples, the first of each label, then the second of each, and so on."""
    rank = torch.zeros_like(labels)
    for label in labels.unique():
        members = labels == label
        rank[members] = torch.arange(int(members.sum()))
    return (rank * (int(labels.max()) + 1) + labels).argsort()[:count]


def caption(node: Mapping[str, Any]) -> str:
    """The name of a rule and the options that were set."""
    set_ = [f"{value}" if key == "step" else f"{key} {value}" for key, value in node.items() if key not in HIDDEN]
    return ", ".join([node["name"], *set_])


HIDDEN = ("name", "solver")


def rms(error: Tensor, mask: Tensor | None = None) -> float:
    """Root mean square, where the mask is true."""
    return float((error if mask is None else error[mask]).double().square().mean().sqrt())


def figure(pictures: dict[str, Tensor], rows: list[Row], hidden: Tensor | None = None) -> Any:
    """A row of images per rule, its name to the left and its numbers to the right; what is hidden is tinted."""
    drawing.use_style()
    import matplotlib.pyplot as plt
    from matplotlib.colors import to_rgba

    count = len(next(iter(pictures.values())))
    left, wide, right = 1.5, 0.4 * count, 1.75  # inches: names, images, numbers
    first = drawing.tile(next(iter(pictures.values())), count)
    tall = wide * first.shape[0] / first.shape[1]
    size = (left + wide + right, 1.04 * tall * len(pictures) + 0.35)
    panels, axes = plt.subplots(len(pictures), 1, figsize=size, squeeze=False)
    columns = {"rmse_seen": ("rmse,\nseen", 0.4), "rmse": ("rmse,\nall", 0.82)}
    columns |= {"label_accuracy": ("label\nfound", 1.26), "evaluations": ("evalu-\nations", 1.7)}
    for ax, (name, images), row in zip(axes[:, 0], pictures.items(), rows, strict=True):
        ax.imshow(drawing.tile(images, count).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.axis("off")
        if hidden is not None and name == "as seen":
            over = torch.tensor(to_rgba(drawing.SKY)).repeat(*first.shape[:2], 1)
            each = 1 - 2 * hidden.float().expand(count, 1, *images.shape[2:])  # -1 where hidden, as tiles have it
            over[..., 3] = 0.55 * (1 - drawing.tile(each, count)[..., 0])
            ax.imshow(over.numpy(), interpolation="nearest")
        about = {"transform": ax.transAxes, "va": "center", "fontsize": 8}
        ax.text(-0.08 / wide, 0.5, name, ha="right", **about)
        for key, (head, place) in columns.items():
            if ax is axes[0, 0]:
                ax.text(1 + place / wide, 1.12, head, ha="right", **{**about, "va": "bottom", "fontsize": 7})
            text = f"{100 * row[key]:.0f} %" if key == "label_accuracy" else f"{row[key]:.{0 if key[0] == 'e' else 2}f}"
            ax.text(1 + place / wide, 0.5, "–" if row[key] == 0 else text, ha="right", **about)
    panels.subplots_adjust(
        left=left / size[0], right=1 - right / size[0], top=1 - 0.33 / size[1], bottom=0, hspace=0.04
    )
    return panels


def write(rows: list[Row], about: dict[str, Any], folder: Path) -> None:
    """The numbers, as a table on the screen, .csv and .json."""
    write_csv(folder / "inpainting.csv", rows)
    (folder / "inpainting.json").write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    print(f"{'':34} rmse seen   rmse   label  evaluations")
    for row in rows:
        values = f"{row['rmse_seen']:9.3f} {row['rmse']:6.3f} {100 * row['label_accuracy']:6.1f}%"
        print(f"{row['rule']:34} {values} {row['evaluations']:12.0f}")


if __name__ == "__main__":
    script(inpainting, "analysis/inpainting", example="python analysis/inpainting.py runs/digits")
