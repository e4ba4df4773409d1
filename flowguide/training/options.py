"""The settings of the training loop, and what must hold of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .averages import gamma_of


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Attributes:
        steps: Optimizer steps.
        batch_size: Samples per step, on all ranks together.
        accumulate: Passes in which each rank takes its share of a batch, where it does not fit into memory at once. On
            one rank n passes are what n ranks with one are.
        learning_rate: After the warm-up.
        warmup: Steps over which it rises linearly from 0.
        decay: What it does then: stay "constant", fall to 0 by the last step along a "cosine", or fall with the inverse
            root of time ("inverse_sqrt").
        decay_from: The step at which the inverse root begins; None for the end of the warm-up.
        optimizer: "adamw", or "muon" for the matrices of blocks with AdamW for all else.
        betas: Of AdamW.
        weight_decay: Of AdamW and Muon.
        clip: Largest norm of the gradient; longer ones are scaled down.
        skips: Steps in a row whose loss or gradient is not finite that are left out; the next stops the run.
        ema: Decay of the exponential moving average of the weights, in [0, 1); None for none, if there are others.
        ema_warmup: Its decay in step n is at most (1 + n) / (ema_warmup + n); 1 for no warm-up.
        ema_lengths: Relative widths of power-function averages to keep beside it, from snapshots of which an average of
            any length can be made: see :mod:`flowguide.training.averages`.
        snapshot_every: Steps between the snapshots; None for 32 of them over the run.
        save_every: Steps between checkpoints.
        keep: How many checkpoints to keep.
        precision: "bfloat16" computes products and convolutions in it (autocast); weights stay in float32.
        tf32: Whether a GPU may round the factors of float32 products to TF32.
        compile: Whether to compile the network: minutes at the start, faster steps after.
        parallel: Under torchrun: a copy of the model on every rank ("ddp"), or a share of it ("fsdp").
        workers: Processes that read a data set that is not held in memory.
        log: Where curves go: "tensorboard", "wandb", or "none".
    """

    steps: int
    batch_size: int = 128
    accumulate: int = 1
    learning_rate: float = 1e-3
    warmup: int = 100
    decay: Literal["constant", "cosine", "inverse_sqrt"] = "cosine"
    decay_from: int | None = None
    optimizer: Literal["adamw", "muon"] = "adamw"
    betas: Sequence[float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip: float = 1.0
    skips: int = 10
    ema: float | None = 0.999
    ema_warmup: float = 10
    ema_lengths: Sequence[float] = ()
    snapshot_every: int | None = None
    save_every: int = 500
    keep: int = 2
    precision: Literal["float32", "bfloat16"] = "float32"
    tf32: bool = True
    compile: bool = False
    parallel: Literal["ddp", "fsdp"] = "ddp"
    workers: int = 4
    log: Literal["tensorboard", "wandb", "none"] = "tensorboard"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"training.{name} must be at least 1, not {getattr(self, name)}")
        for name in ("warmup", "weight_decay", "skips", "workers"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"training.{name} must be at least 0, not {getattr(self, name)}")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"training.{name} must be positive, not {getattr(self, name)}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"training.betas are two decays in [0, 1), not {list(self.betas)}")
        if self.decay_from is not None and (self.decay != "inverse_sqrt" or self.decay_from < 1):
            raise ValueError(
                f"training.decay_from is the step, at least 1, from which decay=inverse_sqrt falls; with "
                f"decay={self.decay}, {self.decay_from} means nothing"
            )
        if self.optimizer == "muon" and self.parallel == "fsdp":
            raise ValueError("training.optimizer=muon needs whole matrices, and parallel=fsdp leaves none: use ddp")
        self._check_averages()

    def _check_averages(self) -> None:
        if self.ema is not None and not 0 <= self.ema < 1:
            raise ValueError(f"training.ema is a decay in [0, 1), not {self.ema}")
        if self.ema is None and not self.ema_lengths:
            raise ValueError("training.ema=null leaves no average of the weights: give training.ema_lengths, or ema=0")
        if not 1 <= self.ema_warmup < math.inf:
            raise ValueError(f"training.ema_warmup must be at least 1, which is none, not {self.ema_warmup}")
        if self.snapshot_every is not None and self.snapshot_every < 1:
            raise ValueError(f"training.snapshot_every must be at least 1, or null, not {self.snapshot_every}")
        for length in self.ema_lengths:
            gamma_of(length)
        if len(set(self.ema_lengths)) < len(self.ema_lengths):
            raise ValueError(f"training.ema_lengths must differ from each other, not {list(self.ema_lengths)}")

    def is_snapshot(self, step: int) -> bool:
        """Whether the power-function averages are kept as they are after ``step`` steps."""
        every = self.snapshot_every or max(1, self.steps // 32)
        return bool(self.ema_lengths) and (step % every == 0 or step == self.steps)

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rate = self.learning_rate * min(1.0, (step + 1) / (self.warmup + 1))
        if self.decay == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * step / self.steps))
        elif self.decay == "inverse_sqrt":
            start = self.decay_from or max(self.warmup, 1)
            rate *= math.sqrt(start / max(step, start))
        return rate
