"""A cascade against what it is to be better than: enlarged images of its first stage, and one stage of the same cost.

    python analysis/cascade.py runs/glyphs64_sr first=runs/glyphs16_base direct=runs/glyphs64_unet

Rows are the cascade at every level of noise between the stages and every guidance weight of the second; the images of
the first stage enlarged bicubically; held-out images, reduced, through the second stage, which is as good as a cascade
can get; the direct model; and held-out images reduced and enlarged bicubically. All are measured at the large size, in
the features of flowguide's own classifier. Every finished row is kept in points.json. What training cost is counted,
not timed: three evaluations of the network per sample and step. Settings: recipes/analysis/cascade.yaml. Writes
cascade.png, .pdf, .csv and .json into RUN/analysis.
"""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm

from flowguide import data, drawing, guidance, metrics, networks, solvers, training
from flowguide.cli import script
from flowguide.evaluation import features as all_features
from flowguide.evaluation import reference_of
from flowguide.evaluation.digest import digest_of, digest_of_tensors
from flowguide.evaluation.evaluate import measure_all
from flowguide.evaluation.kept import Kept, Row
from flowguide.options import check_options
from flowguide.randomness import derive

BICUBIC, REDUCED, REAL = "bicubic of the first stage", "bicubic of real, reduced", "real data"
CASCADE, UPPER, DIRECT = "cascade", "real, reduced, second stage", "direct"


@dataclass(frozen=True)
class Config:
    """What recipes/analysis/cascade.yaml may say, resolved."""

    run: str
    home: str
    out: str
    first: str
    first_guidance: Mapping[str, Any] | None
    w: Sequence[float]
    augmentation: Sequence[float]
    solver: Mapping[str, Any]
    metrics: Sequence[str]
    classifier: Mapping[str, Any]
    direct: str | None = None
    num: int = 500
    seeds: Sequence[int] = (0,)
    shown: int = 10
    batch_size: int = 64
    device: str = "auto"
    ema: bool | float = True
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.shown <= self.num or self.num < 2:
            raise ValueError(f"shown is how many of num={self.num} samples, at least 2, are drawn, not {self.shown}")
        for name in ("w", "augmentation", "metrics", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} is a list that is not empty")


class Drawn:
    """What rows are made of: the stages, the direct model and held-out images."""

    def __init__(self, config: Config) -> None:
        self.config = config
        nodes = [{"run": config.first, "guidance": config.first_guidance}, config.run]
        self.stages = training.load_stages(nodes, None, config.solver, None, config.ema, config.device)
        self.direct = config.direct and training.load_generative(config.direct, config.ema, config.device)
        if self.direct:
            shapes = [each.config.shape for each in (self.direct, self.stages[1].plain)]
            if list(shapes[0]) != list(shapes[1]):
                raise ValueError(f"the direct model makes samples of shape {shapes[0]}, and the cascade of {shapes[1]}")
        self.test = training.build_dataset(self.stages[1].plain.config, "test")
        self.classes = self.stages[0].num_classes
        self.device = next(self.stages[0].plain.parameters()).device
        self.options = {"batch_size": config.batch_size}
        self.made: dict[tuple[int, int], Tensor] = {}

    def labels(self, num: int) -> Tensor | None:
        return None if self.classes is None else torch.arange(num) % self.classes

    def first(self, num: int, seed: int) -> Tensor:
        """What the first stage makes; kept, since many rows begin with it."""
        if (num, seed) not in self.made:
            self.made[num, seed] = self.stages[0].samples(num, self.labels(num), seed, **self.options)
        return self.made[num, seed]

    def second(self, images: Tensor, w: float, level: float, seed: int) -> Tensor:
        """Small images through the second stage; with the seeds of a cascade."""
        stage = replace(self.stages[1], guidance={"name": "cfg", "w": w}, augmentation=level)
        return stage.samples(len(images), self.labels(len(images)), derive(seed, 1), images, **self.options)

    def real(self, num: int) -> Tensor:
        """Held-out images, of every class in turn."""
        index = torch.arange(num)
        if self.classes is not None:
            members = [(self.test.labels == label).nonzero()[:, 0] for label in range(self.classes)]
            index = torch.stack(
                [members[i % self.classes][i // self.classes % len(members[i % self.classes])] for i in index]
            )
        return self.test[index].to(self.device)

    def small(self, num: int) -> Tensor:
        """Held-out images as the first stage would make them."""
        return data.reduce(self.real(num), self.stages[0].plain.config.shape[-1])

    def enlarged(self, images: Tensor) -> Tensor:
        size = self.stages[1].plain.config.shape[-2:]
        return interpolate(images.clamp(-1, 1), tuple(size), mode="bicubic").clamp(-1, 1)

    def at_once(self, num: int, w: float, seed: int) -> Tensor:
        """What the direct model makes."""
        rule = guidance.build("cfg", self.direct, w=w)
        solver = solvers.registry.build_from(self.config.solver)
        return training.samples(self.direct.config, rule, num, self.labels(num), solver, seed, **self.options)

    def rows(self) -> list[tuple[Row, Callable[[int, int], Tensor]]]:
        """What each row is, and what draws so many of its samples with a seed."""
        rows = []
        for level, w in product(self.config.augmentation, self.config.w):
            about = {"what": CASCADE, "augmentation": level, "w": w}
            rows.append((about, lambda num, seed, w=w, level=level: self.second(self.first(num, seed), w, level, seed)))
        rows.append(({"what": BICUBIC}, lambda num, seed: self.enlarged(self.first(num, seed))))
        rows.append(({"what": REDUCED}, lambda num, seed: self.enlarged(self.small(num))))
        for w in self.config.w:
            about = {"what": UPPER, "augmentation": 0.0, "w": w}
            rows.append((about, lambda num, seed, w=w: self.second(self.small(num), w, 0.0, seed)))
            if self.direct:
                rows.append(({"what": DIRECT, "w": w}, lambda num, seed, w=w: self.at_once(num, w, seed)))
        return [({"augmentation": None, "w": None, **about}, draw) for about, draw in rows]

    def costs(self) -> dict[str, float]:
        """Operations that training took, and those of one evaluation for one sample, by model."""
        models = {"first": self.stages[0].plain, "second": self.stages[1].plain}
        models |= {"direct": self.direct} if self.direct else {}
        found = {}
        for name, model in models.items():
            once = networks.cost(model.network, model.config.shape).flops
            options = model.config.options
            found |= {f"{name}_training": 3.0 * once * options.batch_size * options.steps, f"{name}_evaluation": once}
        return found


def cascade(settings: dict[str, Any], folder: Path) -> list[Row]:
    """Measure, draw and write; a row per kind of samples, level, weight and seed, and a last one of the real data."""
    config = Config(**check_options("the script", Config, (), settings))
    drawn = Drawn(config)
    measures = {name: metrics.build(name) for name in config.metrics}
    node = drawn.stages[1].plain.config.data
    features = all_features.build("classifier", all_features.Setting.of(node, config.classifier, config.device))
    real = reference_of(features)
    models = [stage.plain for stage in drawn.stages] + ([drawn.direct] if drawn.direct else [])
    known = {
        "weights": [digest_of_tensors(model.state_dict()) for model in models],
        "features": features.digest,
        **{name: settings[name] for name in ("first_guidance", "solver", "metrics", "num")},
    }
    kept = Kept(folder / "points.json")
    rows, said = [], set()
    for (about, draw), seed in tqdm(list(product(drawn.rows(), config.seeds)), desc="measuring", unit="row"):
        key = digest_of([known, about, seed])
        if key not in kept:
            samples = draw(config.num, seed)
            kept[key] = measure_all(measures, features.see(samples, drawn.labels(config.num)), real.train, said)
        rows.append({**about, "seed": seed, "num": config.num, **kept[key]})
    held_out = measure_all(measures, real.test, real.train, said)
    rows.append({"what": REAL, "augmentation": None, "w": None, "seed": None, "num": len(real.test), **held_out})
    folder.mkdir(parents=True, exist_ok=True)
    write(rows, {"features": real.caption, **drawn.costs(), "settings": settings}, config.metrics, folder)
    print(
        "figure:",
        *drawing.save(figure(rows, pictures(drawn, rows), config.metrics[0], real.caption), folder / "cascade"),
    )
    return rows


def best(rows: Sequence[Row], what: str, metric: str) -> Row:
    """The row of a kind whose metric, the mean over seeds, is the best."""
    sign = 1 if metrics.registry.get(metric).better == "lower" else -1
    of = [row for row in rows if row["what"] == what]
    return min(of, key=lambda row: sign * mean(of, row, metric))


def mean(rows: Sequence[Row], row: Row, metric: str) -> float:
    """Over the seeds of the rows that are otherwise as this one."""
    same = [each[metric] for each in rows if all(each[key] == row[key] for key in ("what", "augmentation", "w"))]
    return sum(same) / len(same)


def pictures(drawn: Drawn, rows: Sequence[Row]) -> dict[str, Tensor]:
    """The same first samples in every way, those of the best rows."""
    config, metric = drawn.config, drawn.config.metrics[0]
    num, seed = config.shown, config.seeds[0]
    small, row = drawn.first(num, seed), best(rows, CASCADE, metric)
    size = drawn.stages[1].plain.config.shape[-1]
    found = {
        "first stage": interpolate(small, (size, size), mode="nearest"),
        "bicubic": drawn.enlarged(small),
        "cascade": drawn.second(small, row["w"], row["augmentation"], seed),
    }
    if drawn.direct:
        found["direct"] = drawn.at_once(num, best(rows, DIRECT, metric)["w"], seed)
    upper = best(rows, UPPER, metric)
    found["real, reduced"] = interpolate(drawn.small(num), (size, size), mode="nearest")
    found["second stage"] = drawn.second(drawn.small(num), upper["w"], 0.0, seed)
    return {**found, "real": drawn.real(num)}


def figure(rows: Sequence[Row], images: Mapping[str, Tensor], metric: str, caption: str) -> Any:
    """Left the images, a row of each kind; right the metric against the level of noise between the stages."""
    drawing.use_style()
    import matplotlib.pyplot as plt

    panels, (left, right) = plt.subplots(
        1, 2, figsize=(drawing.PAGE, 2.6), width_ratios=[1.35, 1], layout="constrained"
    )
    count = len(next(iter(images.values())))
    picture = torch.cat([drawing.tile(each, count) for each in images.values()])
    left.imshow(picture.numpy().squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
    tall = picture.shape[0] / len(images)
    left.set_yticks([(number + 0.5) * tall for number in range(len(images))], list(images))
    left.set_xticks([])
    left.tick_params(length=0)
    left.spines[:].set_visible(False)
    of = [row for row in rows if row["what"] == CASCADE]
    for w, colour in zip(dict.fromkeys(row["w"] for row in of), drawing.COLOURS, strict=False):
        line = {row["augmentation"]: mean(rows, row, metric) for row in of if row["w"] == w}
        right.plot(line.keys(), line.values(), marker="o", color=colour, label=f"cascade, w = {w:g}")
    styles = {BICUBIC: "-", DIRECT: "--", UPPER: "-.", REAL: ":"}
    for what, style in styles.items():
        if any(row["what"] == what for row in rows):
            value = mean(rows, best(rows, what, metric), metric)
            right.axhline(value, color=drawing.BLACK, linestyle=style, linewidth=0.7, label=what)
    if metrics.registry.get(metric).better == "lower":
        right.set_yscale("log")
    right.set(xlabel="noise on the images between the stages", title=metrics.registry.get(metric).title)
    right.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    panels.supxlabel(caption, fontsize=6)
    return panels


def write(rows: list[Row], about: Mapping[str, Any], names: Sequence[str], folder: Path) -> None:
    """The numbers, as a table on the screen, .csv and .json."""
    with (folder / "cascade.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (folder / "cascade.json").write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    print(f"{'':30} noise     w" + "".join(f"{metrics.registry.get(name).title:>20}" for name in names))
    for row in rows:
        noise, w = ("-" if row[key] is None else f"{row[key]:g}" for key in ("augmentation", "w"))
        print(f"{row['what']:30}{noise:>6}{w:>6}" + "".join(f"{row[name]:>20.4g}" for name in names))
    for name, value in about.items():
        if name.endswith("_training"):
            print(f"{name.removesuffix('_training')}: {value / 1e12:.1f} TFLOP to train")


if __name__ == "__main__":
    example = "python analysis/cascade.py runs/glyphs64_sr first=runs/glyphs16_base"
    script(cascade, "analysis/cascade", example=example)
