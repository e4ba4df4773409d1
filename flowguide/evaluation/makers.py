"""What makes the samples of an evaluation: a run (``of_run.py``), or a cascade of runs (``of_cascade.py``).

Either is built at a guidance weight, and draws the samples of a seed that have given numbers at that weight; the sweep
(``sweep.py``) knows nothing else of it. To measure something new that makes samples, write a :class:`Maker`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from ..digest import digest_of_module
from ..training import InTurn, TrainConfig
from .kept import Row
from .tables import UNGUIDED


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


def weighted(node: Mapping[str, Any] | None, w: Any) -> Mapping[str, Any] | None:
    """The node of one weight."""
    return node if w is None else {**node, "w": w}


def name_of(node: Mapping[str, Any] | None) -> str:
    """What a rule is called in rows; building it says what is wrong with a node that has no name."""
    return UNGUIDED if node is None else str(node.get("name"))
