"""What makes the samples of an evaluation: a run, or a cascade of runs.

Either is built at a guidance weight, and draws the samples of a seed that have given numbers at that weight; the sweep
(``sweep.py``) knows nothing else of it. To measure something new that makes samples, write a :class:`Maker`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import guidance, solvers
from ..digest import digest_of_module
from ..fields import Field
from ..training import (
    InTurn,
    Stage,
    TrainConfig,
    in_turn,
    load_generative,
    load_stages,
    seed_of,
    some_samples,
    with_models,
)
from .conditions import drawn_conditions
from .config import EvaluateConfig
from .counted import Evaluations
from .kept import Row
from .tables import EACH, UNGUIDED, label_of


class Drawing(NamedTuple):
    """What draws the samples of a seed.

    Attributes:
        draw: From what a weight builds and numbers of samples, (B,), to these samples, shape (B, *).
        spent: Evaluations of networks that were made for each sample already, the same for all weights.
    """

    draw: Callable[[Any, Tensor], Tensor]
    spent: float = 0.0


class Maker(ABC):
    """Makes samples at any guidance weight.

    Attributes:
        name: What it is called in messages.
        config: Of the run whose data the samples are compared with.
        rule: What the rule is called in the rows.
        weights: To evaluate at, by what they are called (:attr:`.EvaluateConfig.swept`).
        about: Columns of the rows that say how the samples are made.
        key: What tells its samples from those of others with the same models and weight, for points to be kept by.
    """

    name: str
    config: TrainConfig
    rule: str
    weights: Mapping[float | str | None, Any]
    about: Row
    key: Mapping[str, Any]

    @abstractmethod
    def build(self, w: Any) -> nn.Module:
        """What a weight, or a tensor of weights, one per sample, makes of it."""

    @abstractmethod
    def told(self, num: int) -> InTurn:
        """What so many samples are asked to be."""

    @abstractmethod
    def drawing(self, seed: int, index: Tensor, told: InTurn) -> Drawing:
        """What draws samples with numbers among ``index``, which follow on one another.

        Args:
            seed: Sample i of a seed is the same at every weight, but for the weight.
            index: Numbers of the samples, shape (N,), int64; N may be 0.
            told: What all samples, not these alone, are asked to be.
        """

    @property
    def digest(self) -> str:
        """Of the weights of all models that it is made of, and of what it has observed."""
        return digest_of_module(self.build(next(iter(self.weights.values()))))


class OfRun(Maker):
    """The samples of one run.

    Args:
        config: Of the evaluation.
    """

    def __init__(self, config: EvaluateConfig) -> None:
        self.name = config.run
        self.solver = solvers.registry.build_from(config.solver)
        self.temperature = config.temperature
        self.model = load_generative(config.run, config.ema, config.device)
        self.config = self.model.config
        self._node = with_models(config.rule, self.model, config.ema)
        self.rule = config.rule["name"] if config.rule else UNGUIDED
        self.weights = config.swept
        self.about = {"solver": label_of(config.solver), "temperature": config.temperature}
        self.key = {}

    def build(self, w: Any) -> Field:
        if self._node is None:
            return self.model
        return guidance.registry.build_from(weighted(self._node, w), self.model)

    def told(self, num: int) -> InTurn:
        of = self.build(next(iter(self.weights.values())))
        conditions, labels, num_classes = drawn_conditions(self.config, of.num_classes, num, of.takes_conditions)
        return InTurn([conditions], labels, num_classes)

    def drawing(self, seed: int, index: Tensor, told: InTurn) -> Drawing:
        (cond,) = told.conditions

        def draw(rule: Field, some: Tensor) -> Tensor:
            own = None if cond is None else cond[some]
            return some_samples(self.config, rule, some, own, self.solver, seed, temperature=self.temperature)

        return Drawing(draw)


class Staged(nn.Module):
    """The stages of a cascade at one weight; a module, whose parts are the rules of the stages.

    Args:
        stages: At that weight.
        swept: Of each, whether it has it.
    """

    def __init__(self, stages: list[Stage], swept: list[bool]) -> None:
        super().__init__()
        self.stages = stages
        self.rules = nn.ModuleList(stage.rule() for stage in stages)
        # What is cheaper at a weight is so if all rules that have the weight are.
        for claim in ("starts_at_reference", "conditional_at_1"):
            of = [getattr(rule, claim, None) for rule, has in zip(self.rules, swept, strict=True) if has]
            setattr(self, claim, bool(of) and all(of))


class OfCascade(Maker):
    """The samples of a cascade. Its weight is that of the stages that say nothing of their own guidance.

    Args:
        config: Of the evaluation, with a ``cascade``.
    Raises:
        ValueError: if the stages do not chain, or a weight is asked for and each stage has guidance of its own.
    """

    def __init__(self, config: EvaluateConfig) -> None:
        nodes = [node if isinstance(node, Mapping) else {"run": node} for node in config.cascade]
        options = (config.rule, config.solver, config.augmentation, config.ema, config.device)
        self.stages = [stage.with_models() for stage in load_stages(nodes, *options)]
        self.swept = ["guidance" not in node for node in nodes]
        if not any(self.swept) and (config.guidance or {}).get("w") is not None:
            raise ValueError(
                "every stage of this cascade says its own guidance, and none is left for guidance.w: leave it out, or "
                "leave out guidance of the stages that are to have it"
            )
        self.name = "the cascade"
        self.config = self.stages[-1].plain.config
        self.temperature, self.batch_size = config.temperature, config.batch_size
        self.rule = (config.rule["name"] if config.rule else UNGUIDED) if any(self.swept) else EACH
        self.weights = config.swept if any(self.swept) else {None: None}
        own = [("" if swept else f" {_shown(node['guidance'])}") for node, swept in zip(nodes, self.swept, strict=True)]
        solved = [label_of(node.get("solver") or config.solver) for node in nodes]
        self.about = {
            "cascade": " > ".join(stage.name + more for stage, more in zip(self.stages, own, strict=True)),
            "augmentation": _one_or_all([stage.level for stage in self.stages[1:]]),
            "solver": _one_or_all(solved),
            "temperature": config.temperature,
        }
        said = [{key: value for key, value in node.items() if key != "run"} for node in nodes]
        self.key = {"cascade": [self.about, said]}
        # Those before the first one that has the weight are the same at all of them.
        self._leads = self.swept.index(True) if any(self.swept) else len(self.stages) - 1

    def build(self, w: Any) -> Staged:
        at = [
            replace(stage, guidance=weighted(stage.guidance, w)) if swept and stage.guidance else stage
            for stage, swept in zip(self.stages, self.swept, strict=True)
        ]
        return Staged(at, self.swept)

    def told(self, num: int) -> InTurn:
        return in_turn([stage.asking for stage in self.stages], [stage.num_classes for stage in self.stages], num)

    def drawing(self, seed: int, index: Tensor, told: InTurn) -> Drawing:
        def run(stages: list[Stage], first: int, some: Tensor, images: Tensor | None) -> Tensor | None:
            for number, stage in enumerate(stages, first):
                cond = told.conditions[number]
                own = None if cond is None else cond[some]
                options = {"temperature": self.temperature}
                images = stage.some_samples(some, own, seed_of(seed, number), images, **options)
            return images

        before, spent = None, 0.0
        if self._leads and len(index):
            leading = Staged(self.stages[: self._leads], self.swept[: self._leads])
            with Evaluations(leading) as evaluations:
                before = torch.cat([run(leading.stages, 0, some, None) for some in index.split(self.batch_size)])
            spent = evaluations.samples / len(index)

        def draw(staged: Staged, some: Tensor) -> Tensor:
            images = None if before is None else before[some - int(index[0])]
            return run(staged.stages[self._leads :], self._leads, some, images)

        return Drawing(draw, spent)


def maker_of(config: EvaluateConfig) -> Maker:
    """What makes the samples that an evaluation asks for."""
    return OfRun(config) if config.cascade is None else OfCascade(config)


def weighted(node: Mapping[str, Any] | None, w: Any) -> Mapping[str, Any] | None:
    """The node of one weight."""
    return node if w is None else {**node, "w": w}


def _shown(node: Mapping[str, Any] | None) -> str:
    return UNGUIDED if node is None else label_of(node)


def _one_or_all(values: list[Any]) -> Any:
    """What all have, or one after another."""
    return values[0] if len(set(values)) == 1 else ", ".join(map(str, values))
