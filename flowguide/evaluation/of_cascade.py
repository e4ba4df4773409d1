"""The samples of a cascade, for an evaluation: its weight is that of the stages that say nothing of their own guidance.

So they are guided as ``flowguide sample cascade=[...] guidance.w=...`` guides them. What stands before the first such
stage is the same at every weight, and is drawn once for all of them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..training import InTurn, Stage, in_turn, load_stages, seed_of
from .config import EvaluateConfig
from .counted import Evaluations
from .makers import Drawing, Maker, name_of, weighted
from .tables import EACH, UNGUIDED, label_of


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
        self.rule = name_of(config.rule) if any(self.swept) else EACH
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


def _shown(node: Mapping[str, Any] | None) -> str:
    return UNGUIDED if node is None else label_of(node)


def _one_or_all(values: list[Any]) -> Any:
    """What all have, or one after another."""
    return values[0] if len(set(values)) == 1 else ", ".join(map(str, values))
