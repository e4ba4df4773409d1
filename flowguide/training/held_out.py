"""What a super-resolution stage is shown when it is sampled by itself: small images of the held-out data."""

from functools import cached_property

import torch
from torch import Tensor

from .. import conditioners, data
from ..conditioners import Asked
from ..conditioners.low_resolution import LowResolution
from ..fields import Run
from ..randomness import uniform
from .conditions import Asking
from .config import Node, TrainConfig


class HeldOut:
    """The images of a run's samples: sample i is shown that of a held-out datum that is told as it is, drawn by lot.

    Of labels that is one of the same label, or any if there is none; of captions and attributes one of those that are
    the nearest to what the sample is told.

    Args:
        conditioner: What makes them.
        node: Of the data set, which is read when images are first asked for.
    """

    def __init__(self, conditioner: LowResolution, node: Node) -> None:
        self.conditioner = conditioner
        self._asking = Asking(conditioner, node)

    def __call__(self, run: Run) -> Tensor:
        """Those of the rows of a run, without noise, shape (B, C, size, size)."""
        if not self._asking.node:
            raise ValueError(
                "a stage that is shown images has none of its own where it was not trained: sample it in a "
                "cascade=[BASE,RUN]"
            )
        count = len(run.cond) if run.count is None else run.count
        lots = uniform((count, 1), 0, first=run.first, dtype=torch.float64)[:, 0]
        test = self._asking.dataset("test")
        small = data.reduce(test[self._chosen(lots, run.cond)], self.conditioner.size)
        return self.conditioner.show(small)

    @cached_property
    def _told(self) -> Tensor | None:
        """What the held-out data are told, shape (N, ...), without the marks of absent tokens."""
        rows = torch.arange(len(self._asking.dataset("test")))
        told = self.conditioner.held_out(rows, Asked(len(rows), None, self._asking.dataset))
        return None if told is None else told.nan_to_num()

    def _chosen(self, lots: Tensor, cond: Tensor | None) -> Tensor:
        """Which of the held-out data: any, where there is nothing to tell, or it is a label that none of them has."""
        index = (lots * len(self._asking.dataset("test"))).long()
        if cond is None or self._told is None or cond.shape[1:] != self._told.shape[1:]:
            return index
        cond = cond.cpu().nan_to_num()
        for told in cond.unique(dim=0):
            members = self._nearest(told)
            rows = (cond == told).flatten(1).all(1) if cond.ndim > 1 else cond == told
            index[rows] = members[(lots[rows] * len(members)).long()]
        return index

    def _nearest(self, told: Tensor) -> Tensor:
        """Which of the held-out data are told what is the nearest to this."""
        labels = not told.ndim
        distances = (self._told != told).long() if labels else (self._told - told).square().flatten(1).sum(1)
        return (distances == distances.min()).nonzero()[:, 0]


def held_out_images(config: TrainConfig) -> HeldOut | None:
    """The images to show a run's model when it is sampled by itself; None if it is shown none."""
    conditioner = low_resolution(config)
    return None if conditioner is None else HeldOut(conditioner, config.data)


def low_resolution(config: TrainConfig) -> LowResolution | None:
    """The conditioner of a super-resolution stage; None if the run is of no such stage."""
    conditioner = None if config.conditioner is None else conditioners.registry.build_from(config.conditioner)
    return conditioner if isinstance(conditioner, LowResolution) else None
