"""Which samples a step takes, and the shard of them that a rank takes: functions of (seed, step) and nothing else.

A batch is S = ranks x passes shards of equal size. Shard s of a step has samples and random numbers of its own, so that
a step is the same however its shards are spread: n ranks with one pass are one rank with n.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data import Samples
from ..randomness import derive
from .options import TrainingOptions
from .ranks import Ranks

_ORDER, _STEP = 0, 1  # the streams of a seed: order of the data, all else in a step


class Order:
    """The samples of any step, from endless reshuffled passes through the data.

    Args:
        dataset: Whose samples they are.
        batch_size: At most the size of the data set; a short rest at the end of an epoch is left out.
        seed: Fixes the order.
    """

    def __init__(self, dataset: Samples, batch_size: int, seed: int) -> None:
        if batch_size > len(dataset):
            raise ValueError(
                f"training.batch_size={batch_size} is more than the {len(dataset)} samples of {dataset.name}"
            )
        self.count = len(dataset)
        self.batch_size = batch_size
        self.seed = seed
        self.per_epoch = len(dataset) // batch_size
        self._epoch = -1
        self._order = torch.empty(0)

    def __getitem__(self, step: int) -> Tensor:
        """Their indices, shape (batch_size,), on the host."""
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(derive(self.seed, _ORDER, epoch))
            self._epoch = epoch
            self._order = torch.randperm(self.count, generator=generator)
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]


@dataclass(frozen=True)
class Shards:
    """The shards of each batch that a rank takes.

    Args:
        batch_size: Samples of a batch.
        passes: In how many the rank takes its shards.
        ranks: Who trains.
        seed: Of all randomness.
    Raises:
        ValueError: if the shards cannot be of equal size.
    """

    batch_size: int
    passes: int
    ranks: Ranks
    seed: int

    def __post_init__(self) -> None:
        count = self.passes * self.ranks.world
        if self.batch_size % count:
            nearest = max(1, round(self.batch_size / count)) * count
            raise ValueError(
                f"training.batch_size={self.batch_size} cannot be cut into {self.ranks.world} (processes) x "
                f"{self.passes} (training.accumulate) equal shards; the nearest that can is {nearest}"
            )

    @classmethod
    def of(cls, options: TrainingOptions, ranks: Ranks, seed: int) -> "Shards":
        """Those that a recipe asks for."""
        return cls(options.batch_size, options.accumulate, ranks, seed)

    def rows(self, order: Order, number: int) -> Tensor:
        """Indices of the samples in this rank's pass ``number``, counted from the start of the run."""
        step, shard = self._place(number)
        size = self.batch_size // (self.passes * self.ranks.world)
        return order[step][shard * size : (shard + 1) * size]

    def seed_of(self, number: int) -> int:
        """The seed of all random numbers in that pass."""
        step, shard = self._place(number)
        of_step = derive(self.seed, _STEP, step)
        return derive(of_step, shard) if shard else of_step

    def _place(self, number: int) -> tuple[int, int]:
        """Its step, and its shard among all ranks'."""
        step, passed = divmod(number, self.passes)
        return step, passed * self.ranks.world + self.ranks.rank
