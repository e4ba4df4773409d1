"""What a super-resolution stage is shown when it is sampled by itself: small images of the held-out data."""

import torch
from torch import Tensor

from .. import conditioners, data
from ..conditioners.low_resolution import LowResolution
from ..fields import Run
from ..randomness import uniform
from .config import Node, TrainConfig


class HeldOut:
    """The images of a run's samples: sample i is shown that of a held-out datum of its label, drawn by lot.

    Args:
        conditioner: What makes them.
        node: Of the data set, which is read when images are first asked for.
    """

    def __init__(self, conditioner: LowResolution, node: Node) -> None:
        self.conditioner, self.node = conditioner, node
        self._test: data.Samples | None = None

    def __call__(self, run: Run) -> Tensor:
        """Those of the rows of a run, without noise, shape (B, C, size, size)."""
        if self._test is None:
            if not self.node:
                raise ValueError(
                    "a stage that is shown images has none of its own where it was not trained: sample it in a "
                    "cascade=[BASE,RUN]"
                )
            self._test = data.registry.build_from(self.node, split="test")
        count = len(run.cond) if run.count is None else run.count
        lots = uniform((count, 1), 0, first=run.first, dtype=torch.float64)[:, 0]
        small = data.reduce(self._test[self._chosen(lots, run.cond)], self.conditioner.size)
        return self.conditioner.show(small)

    def _chosen(self, lots: Tensor, cond: Tensor | None) -> Tensor:
        """Which of the held-out data: any, where there is no label, or none of that label."""
        labels = self._test.labels
        index = (lots * len(self._test)).long()
        if cond is None or labels is None:
            return index
        for label in cond.unique():
            members = (labels.cpu() == int(label)).nonzero()[:, 0]
            rows = (cond == label).cpu()
            if len(members):
                index[rows] = members[(lots[rows] * len(members)).long()]
        return index


def held_out_images(config: TrainConfig) -> HeldOut | None:
    """The images to show a run's model when it is sampled by itself; None if it is shown none."""
    conditioner = low_resolution(config)
    return None if conditioner is None else HeldOut(conditioner, config.data)


def low_resolution(config: TrainConfig) -> LowResolution | None:
    """The conditioner of a super-resolution stage; None if the run is of no such stage."""
    conditioner = None if config.conditioner is None else conditioners.registry.build_from(config.conditioner)
    return conditioner if isinstance(conditioner, LowResolution) else None
