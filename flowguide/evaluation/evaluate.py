"""Samples of a run at several guidance weights and seeds, measured against the real data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from .. import guidance, metrics, solvers
from ..metrics import see
from ..networks import Network, NoisyClassifier
from ..options import check_options
from ..training import build_dataset, check_seed, load_generative, samples, with_models
from .digest import digest_of, digest_of_tensors
from .judge import judge_for
from .kept import Kept, Row
from .tables import REAL, label_of


@dataclass(frozen=True)
class EvaluateConfig:
    """What ``recipes/base/evaluate.yaml`` may say, resolved.

    Attributes:
        run, home: The run folder or checkpoint file, and the run's folder.
        out: Where the tables go.
        guidance: Node of a guidance rule, with ``w`` a number, a schedule's node, or a list of them.
        solver: Node of a solver.
        metrics: Names of metrics.
        classifier: The network, objective, training and seed nodes of the classifier to measure with.
        num: Samples per point; None for as many as there are held-out data.
        seeds: One evaluation each.
        batch_size: Samples per evaluation of the network.
        device, ema, imports: Where, with which weights (see :func:`flowguide.load`), with whose components.
    """

    run: str
    home: str
    out: str
    guidance: Mapping[str, Any]
    solver: Mapping[str, Any]
    metrics: Sequence[str]
    classifier: Mapping[str, Any]
    num: int | None = None
    seeds: Sequence[int] = (0,)
    batch_size: int = 256
    device: str = "auto"
    ema: bool | float = True
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.num is not None and self.num < 2:
            raise ValueError(f"num must be at least 2, or null for as many as there are held-out data, not {self.num}")
        if not self.seeds or not self.metrics:
            raise ValueError("evaluate needs at least one seed and one metric")
        for seed in self.seeds:
            check_seed(seed)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "EvaluateConfig":
        """From nested settings; ValueError naming the first that is unknown, missing or of the wrong type."""
        return cls(**check_options("the command", cls, (), settings))

    @property
    def weights(self) -> dict[float | str | None, Any]:
        """The guidance weights to evaluate, by what they are called: numbers by themselves, schedules by their labels.

        A rule without a weight has one, None.
        """
        name, given = self.guidance.get("name"), self.guidance.get("w")
        if given is None and name in guidance.names() and "w" not in guidance.registry.options(name):
            return {None: None}
        several = given if isinstance(given, list) else [given]
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


def evaluate(config: EvaluateConfig, out: Path, show: bool = True, rule: str | None = None) -> list[Row]:
    """Measure a run at every weight of ``guidance.w`` for every seed.

    Every finished point is kept in ``out/points.json`` and not computed again.

    Args:
        config: What to measure.
        out: Folder of the kept points.
        show: Show progress.
        rule: What the rule is called in the rows; its name if None.
    Returns:
        One row per (w, seed), in that order, and a last one of the real held-out data, as the rule "real data".
    """
    solver = solvers.registry.build_from(config.solver)
    measures = {name: metrics.build(name) for name in config.metrics}
    model = load_generative(config.run, config.ema, config.device)
    node = with_models(config.guidance, model, config.ema)
    weights = config.weights
    rules = {label: guidance.registry.build_from(_weighted(node, w), model) for label, w in weights.items()}
    one = next(iter(rules.values()))
    test = build_dataset(model.config, "test")
    num_classes = one.num_classes
    if len(test.shape) != 3 or num_classes is None:
        raise ValueError(f"evaluation needs a model of labelled images, and {config.run} is one of {test.name}")
    num = config.num or len(test)
    judge = judge_for(model.config.data, config.classifier, config.device, show)

    about = {"features": judge.features, "num": num, "reference": "training data", "evaluations": 0.0}
    settings = {
        "weights": digest_of_tensors(one.state_dict()),  # of all models that a rule is made of
        "judge": digest_of_tensors(judge.classifier.state_dict()),
        **{name: asdict(config)[name] for name in ("solver", "metrics", "batch_size")},
        "columns": list(about),
    }
    labels = torch.arange(num) % num_classes
    kept = Kept(out / "points.json")
    rows: list[Row] = []
    points = [(w, seed) for w in rules for seed in config.seeds]
    for w, seed in tqdm(points, desc="evaluating", unit="point", disable=not show):
        point = {"w": w, "seed": seed, "num": num}
        key = digest_of({**settings, "guidance": _weighted(config.guidance, weights[w]), **point})
        if key not in kept:
            with Evaluations(rules[w]) as evaluations:
                images = samples(model.config, rules[w], num, labels, solver, seed, batch_size=config.batch_size)
            seen = see(judge.classifier, images, labels)
            measured = {name: measure(seen, judge.train) for name, measure in measures.items()}
            kept[key] = {**point, **measured, **about, "evaluations": evaluations.samples / num}
        rows.append({"rule": rule or config.guidance["name"], **kept[key]})
    real = {name: measure(judge.test, judge.train) for name, measure in measures.items()}
    return [*rows, {"rule": REAL, "w": None, "seed": None, **real, **about, "num": len(test)}]


class Evaluations:
    """Counts, while it is entered, the samples that the networks of a rule are shown."""

    def __init__(self, rule: nn.Module) -> None:
        self.networks = [each for each in rule.modules() if isinstance(each, (Network, NoisyClassifier))]
        self.samples = 0

    def __enter__(self) -> "Evaluations":
        self._hooks = [network.register_forward_pre_hook(self._count) for network in self.networks]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _count(self, network: nn.Module, arguments: tuple[Any, ...]) -> None:
        self.samples += len(arguments[0])


def _weighted(node: Mapping[str, Any], w: Any) -> dict[str, Any]:
    """The node of one weight."""
    return dict(node) if w is None else {**node, "w": w}
