"""What ``cascade.py`` compares: its settings, the models, and what draws the samples of each row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from flowguide import data, guidance, networks, solvers, training
from flowguide.evaluation import EvaluateConfig, Row

AS_MANY = "real data, as many"
BICUBIC, REDUCED = "bicubic of the first stage", "bicubic of real, reduced"
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
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be an integer of at least 1, not {self.batch_size}")
        for name in ("w", "augmentation", "metrics", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} is a list that is not empty")


class Drawn:
    """What rows are made of that no evaluation draws: the stages, the direct model and held-out images."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.stages = training.load_stages(self.nodes, None, config.solver, None, config.ema, config.device)
        self.direct = config.direct and training.load_generative(config.direct, config.ema, config.device)
        if self.direct:
            shapes = [each.config.shape for each in (self.direct, self.stages[1].plain)]
            if list(shapes[0]) != list(shapes[1]):
                raise ValueError(f"the direct model makes samples of shape {shapes[0]}, and the cascade of {shapes[1]}")
        self.test = training.build_dataset(self.stages[1].plain.config, "test")
        self.device = next(self.stages[0].plain.parameters()).device
        self.options = {"batch_size": config.batch_size}
        self.made: dict[tuple[int, int], Tensor] = {}
        self.asked: dict[int, training.InTurn] = {}

    @property
    def nodes(self) -> list[Any]:
        """The stages, the second without guidance of its own."""
        return [{"run": self.config.first, "guidance": self.config.first_guidance}, self.config.run]

    def told(self, num: int) -> training.InTurn:
        """What so many samples are asked to be, of either stage: of all classes in turn, or as held-out ones are."""
        if num not in self.asked:
            askings, classes = zip(*((stage.asking, stage.num_classes) for stage in self.stages), strict=True)
            self.asked[num] = training.in_turn(askings, classes, num)
        return self.asked[num]

    def first(self, num: int, seed: int) -> Tensor:
        """What the first stage makes; kept, since many rows begin with it."""
        if (num, seed) not in self.made:
            self.made[num, seed] = self.stages[0].samples(num, self.told(num).conditions[0], seed, **self.options)
        return self.made[num, seed]

    def second(self, images: Tensor, w: float, level: float, seed: int) -> Tensor:
        """Small images through the second stage; with the seeds of a cascade."""
        num = len(images)
        stage = replace(self.stages[1], guidance={"name": "cfg", "w": w}, augmentation=level)
        return stage.samples(num, self.told(num).conditions[1], training.seed_of(seed, 1), images, **self.options)

    def real(self, num: int) -> Tensor:
        """Held-out images: those that samples are asked to be as, or of every class in turn."""
        index = torch.arange(num)
        classes = self.told(num).num_classes
        if any(stage.asking and stage.asking.conditioner.of_samples for stage in self.stages):
            index = index % len(self.test)
        elif classes is not None:
            members = [(self.test.labels == label).nonzero()[:, 0] for label in range(classes)]
            index = torch.stack([members[i % classes][i // classes % len(members[i % classes])] for i in index])
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
        cond = self.direct.conditions(None, num)
        return training.samples(self.direct.config, rule, num, cond, solver, seed, **self.options)

    def rows(self) -> list[tuple[Row, Callable[[int, int], Tensor]]]:
        """What each row is that no evaluation measures, and what draws so many of its samples with a seed."""
        rows = [
            ({"what": BICUBIC}, lambda num, seed: self.enlarged(self.first(num, seed))),
            ({"what": AS_MANY}, lambda num, seed: self.real(num)),
            ({"what": REDUCED}, lambda num, seed: self.enlarged(self.small(num))),
        ]
        for w in self.config.w:
            about = {"what": UPPER, "augmentation": 0.0, "w": w}
            rows.append((about, lambda num, seed, w=w: self.second(self.small(num), w, 0.0, seed)))
        return [({"augmentation": None, "w": None, **about}, draw) for about, draw in rows]

    def evaluations(self) -> list[tuple[Row, EvaluateConfig]]:
        """What 'flowguide evaluate' measures at every weight: the cascade at every level of noise, the direct model."""
        config = self.config
        names = ("solver", "metrics", "classifier", "num", "seeds", "batch_size", "device", "ema")
        settings = {name: getattr(config, name) for name in names}
        settings["guidance"] = {"name": "cfg", "w": list(config.w)}
        settings["out"] = f"{config.home}/evaluation/cascade"
        cascade = {**settings, "cascade": self.nodes, "run": config.home, "home": config.home}
        found = [
            ({"what": CASCADE, "augmentation": level}, EvaluateConfig.of({**cascade, "augmentation": level}))
            for level in config.augmentation
        ]
        if self.direct:
            direct = {**settings, "run": config.direct, "home": config.direct}
            direct["reference"] = self.stages[1].plain.config.data
            found.append(({"what": DIRECT, "augmentation": None}, EvaluateConfig.of(direct)))
        return found

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
