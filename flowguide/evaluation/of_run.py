"""The samples of a run, for an evaluation."""

from typing import Any

from torch import Tensor

from .. import guidance, solvers
from ..fields import Field
from ..training import InTurn, load_generative, some_samples, with_models
from .conditions import drawn_conditions
from .config import EvaluateConfig
from .makers import Drawing, Maker, name_of, weighted
from .tables import label_of


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
        self.rule = name_of(config.rule)
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
