"""What an evaluation may be asked for, and at which guidance weights it measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import guidance
from ..options import check_options
from ..training import check_seed, check_temperature
from .tables import label_of


@dataclass(frozen=True)
class EvaluateConfig:
    """What ``recipes/base/evaluate.yaml`` may say, resolved.

    Attributes:
        run, home: The run folder or checkpoint file, and the run's folder; of a cascade, the last run's folder.
        out: Where the tables go.
        guidance: Node of a guidance rule, with ``w`` a number, a schedule's node, a list of them, or None; None, or a
            node that says nothing, for the conditional field as it is.
        solver: Node of a solver.
        metrics: Names of metrics.
        classifier: The network, objective, training and seed nodes of the classifier to measure with.
        weights: What ``w`` is where it is None, of a rule that has one.
        features: Node of the features that metrics are computed in.
        reference: Node of a data set to compare with; None for the run's own.
        num: Samples per point; None for as many as there are held-out data.
        seeds: One evaluation each.
        batch_size: Samples per evaluation of the network.
        temperature: Factor on the noise that samples start from.
        device, ema, imports: Where, with which weights (see :func:`flowguide.load`), with whose components.
        cascade: Stages whose samples are measured in place of the run's (:func:`flowguide.training.load_stages`).
            Guidance, solver and augmentation are those of the stages that say nothing of their own.
        augmentation: Of the images between the stages of a cascade; None for 0.1, or less if trained with less.
    """

    run: str
    home: str
    out: str
    guidance: Mapping[str, Any] | None
    solver: Mapping[str, Any]
    metrics: Sequence[str]
    classifier: Mapping[str, Any]
    weights: Sequence[Any] | None = None
    features: Mapping[str, Any] = field(default_factory=lambda: {"name": "classifier"})
    reference: Mapping[str, Any] | None = None
    num: int | None = None
    seeds: Sequence[int] = (0,)
    batch_size: int = 256
    temperature: float = 1.0
    device: str = "auto"
    ema: bool | float = True
    imports: Sequence[str] = ()
    cascade: Sequence[Any] | None = None
    augmentation: float | None = None

    def __post_init__(self) -> None:
        if self.num is not None and self.num < 2:
            raise ValueError(f"num must be at least 2, or null for as many as there are held-out data, not {self.num}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")
        if not self.seeds or not self.metrics:
            raise ValueError("evaluate needs at least one seed and one metric")
        for seed in self.seeds:
            check_seed(seed)
        check_temperature(self.temperature)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "EvaluateConfig":
        """From nested settings; ValueError naming the first that is unknown, missing or of the wrong type."""
        return cls(**check_options("the command", cls, (), settings))

    @property
    def rule(self) -> dict[str, Any] | None:
        """The node of the rule, without a weight that it leaves open; None if there is no rule."""
        said = {key: value for key, value in (self.guidance or {}).items() if key != "w" or value is not None}
        return said or None

    @property
    def w(self) -> Any:
        """The weight, or list of weights, of a rule that has one."""
        given = (self.rule or {}).get("w")
        return self.weights if given is None else given

    @property
    def swept(self) -> dict[float | str | None, Any]:
        """The guidance weights to evaluate, by what they are called: numbers by themselves, schedules by their labels.

        A rule without a weight has one, None, and so have samples without a rule.
        """
        rule = self.rule
        name = rule and rule.get("name")
        weightless = name in guidance.names() and "w" not in guidance.registry.options(name)
        if rule is None or (weightless and "w" not in rule):
            return {None: None}
        several = self.w if isinstance(self.w, list) else [self.w]
        named = {label_of(w): w for w in several if isinstance(w, Mapping) and "name" in w}
        numbers = [w for w in several if w not in named.values()]
        return {**{w: w for w in (weights_of({"w": numbers}) if numbers or not named else [])}, **named}


def weights_of(node: Mapping[str, Any]) -> list[float]:
    """The guidance weights that a node lists, for whatever is done once for each; ValueError if they are no numbers."""
    given = node.get("w")
    weights = given if isinstance(given, list) else [given]
    if not weights or not all(isinstance(w, (int, float)) and not isinstance(w, bool) for w in weights):
        raise ValueError(f"guidance.w must be a number or a list of numbers, not {given!r}")
    return [float(w) for w in weights]
