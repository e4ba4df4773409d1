"""What a training recipe may say, and what must hold of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..options import check_options
from ..paths import Output

Node = Mapping[str, Any]


@dataclass(frozen=True)
class TrainConfig:
    """A training recipe, resolved. Nodes name a registered component and set its options: ``{"name": ..., ...}``.

    Attributes:
        data, network, objective: Nodes.
        training: See :class:`TrainingOptions`.
        path: Node; None to train a classifier of clean data, which has none. One of noisy states is trained on one.
        source: Node of a data set for the flow to start from; None for Gaussian noise.
        predicts: What the network's output means.
        sigma_data: The standard deviation of the data, if it predicts edm; None for EDM's 0.5.
        clock: What the network is told of the time: None for t, the "timestep" of a path that has them, or "edm" for
            log(sigma / alpha) / 4.
        shown: What a classifier of noisy states is shown: None for the best guess of the data, or the "state" itself.
        seed: Of all randomness: weights, data order, noise, dropout.
        device: "auto", "cpu", "cuda", ...
        imports: Modules that register components of the user's.
        fresh: Start over, removing the checkpoints in the run folder.
        shape: Of one sample, without the batch; follows from the data.
        recipe: Name of the recipe.
        run, out: The run folder, as it was asked for and as it is.
    """

    data: Node
    network: Node
    objective: Node
    training: Node
    path: Node | None = None
    source: Node | None = None
    predicts: Output = "velocity"
    sigma_data: float | None = None
    clock: Literal["timestep", "edm"] | None = None
    shown: Literal["guess", "state"] | None = None
    seed: int = 0
    device: str = "auto"
    imports: Sequence[str] = ()
    fresh: bool = False
    shape: Sequence[int] | None = None
    recipe: str | None = None
    run: str | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)
        _ = self.options  # checked now, before anything is written

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "TrainConfig":
        """From nested settings; ValueError naming the first that is unknown, missing or of the wrong type."""
        return cls(**check_options("the recipe", cls, (), settings))

    @property
    def options(self) -> "TrainingOptions":
        """The settings of the training loop."""
        return TrainingOptions(**check_options("training", TrainingOptions, (), self.training))

    def settings(self) -> dict[str, Any]:
        """Back to nested settings."""
        return asdict(self)


def complete(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with all options of their components, those not given at their defaults."""
    from .. import data, networks, objectives, paths

    registries = {"data": data, "source": data, "path": paths, "network": networks, "objective": objectives}
    completed = dict(settings)
    for group, package in registries.items():
        node = settings.get(group)
        if isinstance(node, Mapping) and node.get("name") in package.names():
            options = {**package.registry.defaults(node["name"]), **node}
            completed[group] = {
                key: list(value) if isinstance(value, tuple) else value for key, value in options.items()
            }
    return completed


def check_seed(seed: int) -> None:
    """ValueError unless the seed is in [0, 2^63)."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"a seed must be an integer from 0 to 2^63 - 1, not {seed}")


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Attributes:
        steps: Optimizer steps.
        batch_size: Samples per step.
        learning_rate: Of AdamW, after the warm-up.
        warmup: Steps over which it rises linearly from 0.
        decay: What it does then: stay "constant", or fall to 0 by the last step along a "cosine".
        weight_decay: Of AdamW.
        clip: Largest norm of the gradient; longer ones are scaled down.
        ema: Decay of the moving average of the weights, in [0, 1).
        save_every: Steps between checkpoints.
        keep: How many checkpoints to keep.
    """

    steps: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    warmup: int = 100
    decay: Literal["constant", "cosine"] = "cosine"
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.999
    save_every: int = 500
    keep: int = 2

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"training.{name} must be at least 1, not {getattr(self, name)}")
        for name in ("warmup", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"training.{name} must be at least 0, not {getattr(self, name)}")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"training.{name} must be positive, not {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"training.ema is a decay in [0, 1), not {self.ema}")

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rate = self.learning_rate * min(1.0, (step + 1) / (self.warmup + 1))
        if self.decay == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return rate
