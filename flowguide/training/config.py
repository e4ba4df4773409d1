"""What a training recipe may say, and what must hold of it."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal

from ..options import check_options
from ..paths import Output
from .options import TrainingOptions

Node = Mapping[str, Any]


@dataclass(frozen=True)
class TrainConfig:
    """A training recipe, resolved. Nodes name a registered component and set its options: ``{"name": ..., ...}``.

    Attributes:
        data, network, objective: Nodes.
        training: See :class:`TrainingOptions`.
        path: Node; None to train a classifier of clean data, which has none. One of noisy states is trained on one.
        source: Node of a data set for the flow to start from; None for Gaussian noise.
        conditioner: Node of what the network is told of a sample; None for its label.
        predicts: What the network's output means.
        sigma_data: The standard deviation of the data, if it predicts edm; None for EDM's 0.5.
        clock: What the network is told of the time: None for t, the "timestep" of a path that has them, or "edm" for
            log(sigma / alpha) / 4.
        shown: What a classifier of noisy states is shown: None for the best guess of the data, or the "state" itself.
        seed: Of all randomness: weights, data order, noise, dropout.
        device: "auto", "cpu", "cuda", ...
        imports: Modules that register components of the user's.
        fresh: Start over, removing the checkpoints in the run folder.
        allow: Go on with the run in the folder even if its configuration was another, taking what fits.
        watch: What to look at while it trains (``flowguide/evaluation/watch.py``); None for nothing.
        shape: Of one sample, without the batch; follows from the data.
        samples: Their number, and a digest of their labels and captions; likewise.
        recipe: Name of the recipe.
        run, out: The run folder, as it was asked for and as it is.
    """

    data: Node
    network: Node
    objective: Node
    training: Node
    path: Node | None = None
    source: Node | None = None
    conditioner: Node | None = None
    predicts: Output = "velocity"
    sigma_data: float | None = None
    clock: Literal["timestep", "edm"] | None = None
    shown: Literal["guess", "state"] | None = None
    seed: int = 0
    device: str = "auto"
    imports: Sequence[str] = ()
    fresh: bool = False
    allow: bool = False
    watch: Node | None = None
    shape: Sequence[int] | None = None
    samples: str | None = None
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
    def options(self) -> TrainingOptions:
        """The settings of the training loop."""
        return TrainingOptions(**check_options("training", TrainingOptions, (), self.training))

    def settings(self) -> dict[str, Any]:
        """Back to nested settings."""
        return asdict(self)


def complete(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with all options of their components, those not given at their defaults."""
    from .. import conditioners, data, networks, objectives, paths

    registries = {
        "data": data,
        "source": data,
        "conditioner": conditioners,
        "path": paths,
        "network": networks,
        "objective": objectives,
    }
    completed = dict(settings)
    for group, package in registries.items():
        node = settings.get(group)
        if isinstance(node, Mapping) and node.get("name") in package.names():
            completed[group] = {**package.registry.defaults(node["name"]), **node}
    if isinstance(settings.get("training"), Mapping):
        defaults = {each.name: each.default for each in fields(TrainingOptions) if each.default is not MISSING}
        completed["training"] = {**defaults, **settings["training"]}
    return {
        group: {key: list(value) if isinstance(value, tuple) else value for key, value in node.items()}
        if isinstance(node, Mapping)
        else node
        for group, node in completed.items()
    }


def check_seed(seed: int) -> None:
    """ValueError unless the seed is in [0, 2^63)."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"a seed must be an integer from 0 to 2^63 - 1, not {seed}")
