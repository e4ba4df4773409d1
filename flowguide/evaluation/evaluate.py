"""Samples of a run at several guidance weights and seeds, measured against the real data."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .. import guidance, metrics, solvers
from ..digest import digest_of, digest_of_module
from ..fields import Field
from ..metrics import Seen
from ..options import check_options
from ..training import (
    Ranks,
    check_seed,
    check_temperature,
    joined,
    load_generative,
    pixel_data,
    some_samples,
    with_models,
)
from .bits import bits_of
from .checks import check_bits, check_needs, check_reference
from .conditions import drawn_conditions
from .kept import Kept, Row
from .sweep import sweep
from .tables import REAL, label_of
from .view import Views

log = logging.getLogger(__name__)


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
        features: Node of the features that metrics are computed in.
        reference: Node of a data set to compare with; None for the run's own.
        num: Samples per point; None for as many as there are held-out data.
        seeds: One evaluation each.
        batch_size: Samples per evaluation of the network.
        temperature: Factor on the noise that samples start from.
        device, ema, imports: Where, with which weights (see :func:`flowguide.load`), with whose components.
    """

    run: str
    home: str
    out: str
    guidance: Mapping[str, Any]
    solver: Mapping[str, Any]
    metrics: Sequence[str]
    classifier: Mapping[str, Any]
    features: Mapping[str, Any] = field(default_factory=lambda: {"name": "classifier"})
    reference: Mapping[str, Any] | None = None
    num: int | None = None
    seeds: Sequence[int] = (0,)
    batch_size: int = 256
    temperature: float = 1.0
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
        check_temperature(self.temperature)

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


def evaluate(
    config: EvaluateConfig, out: Path, show: bool = True, rule: str | None = None, views: Views | None = None
) -> list[Row]:
    """Measure a run at every weight of ``guidance.w`` for every seed.

    Every finished point is kept in ``out/points.json`` and not computed again. Under ``torchrun`` each process draws
    its share of the samples, and all of them return the same rows.

    Args:
        config: What to measure.
        out: Folder of the kept points.
        show: Show progress.
        rule: What the rule is called in the rows; its name if None.
        views: Shared by several evaluations in a row, for the reference that they have in common to be read once.
    Returns:
        One row per (w, seed), in that order, and a last one of the real held-out data, as the rule "real data". What
        has no meaning in a row is None.
    """
    with joined() as ranks:
        config = replace(config, device=ranks.device(config.device))
        return _evaluate(config, out, show and ranks.first, rule, ranks, views or Views())


def _evaluate(config: EvaluateConfig, out: Path, show: bool, rule: str | None, ranks: Ranks, views: Views) -> list[Row]:
    solver = solvers.registry.build_from(config.solver)
    measures = {name: metrics.build(name) for name in config.metrics}
    model = load_generative(config.run, config.ema, config.device)
    node = with_models(config.guidance, model, config.ema)
    weights = config.weights

    def build(w: Any) -> Field:
        return guidance.registry.build_from(_weighted(node, w), model)

    rules = [build(w) for w in weights.values()]  # all of them now, for whatever is wrong to be said
    one = rules[0]
    pixels, shape = pixel_data(model.config)
    view = views(config.reference or pixels, config.features, config.classifier, config.device, show)
    num = config.num or len(view.setting.test)
    conds, labels, num_classes = drawn_conditions(model.config, one.num_classes, num)
    check_reference(view.setting.train, shape, num_classes, config.run)
    features = view.features
    check_needs(measures, features, config.features["name"], num_classes)
    check_bits(measures, view.setting.test, model.config)
    real = view.real

    drawn = {"solver": label_of(config.solver), "temperature": config.temperature}
    compared = {
        "features": real.caption,
        "resize": features.resize,
        "reference": "training data" + (f" of {config.reference['name']}" if config.reference else ""),
        "reference_num": len(real.train),
    }
    settings = {
        "rule": digest_of_module(one),  # the weights of all models that it is made of, and what it has observed
        "features": features.digest,
        "reference": real.digest,
        **{name: asdict(config)[name] for name in ("solver", "metrics", "batch_size", "temperature")},
        "columns": [*drawn, *compared, "errors"],
    }
    ranks.wait()  # for none to read while another one writes
    kept = Kept(out / "points.json", writes=ranks.first)
    ranks.wait()
    said: set[str] = set()
    keys = {
        (w, seed): digest_of(
            {**settings, "guidance": _weighted(config.guidance, weights[w]), "w": w, "seed": seed, "num": num}
        )
        for w in weights
        for seed in config.seeds
    }
    missing = {seed: {w: weights[w] for w in weights if keys[w, seed] not in kept} for seed in config.seeds}
    share = ranks.share(num)
    index = torch.arange(share.start, share.stop)
    cond = None if conds is None else conds[share.start : share.stop]
    total = len(share) * sum(map(len, missing.values()))
    with tqdm(total=total, desc="evaluating", unit="sample", disable=not show or not total) as bar:
        for seed, wanted in missing.items():
            draw = partial(some_samples, model.config, solver=solver, seed=seed, temperature=config.temperature)
            for w, swept in sweep(wanted, build, draw, index, cond, config.batch_size, bar.update):
                seen = features.see(ranks.gathered(swept.samples, num), labels)
                if any("bits" in measure.needs for measure in measures.values()):
                    options = {"batch_size": config.batch_size, "ranks": ranks}
                    bits = bits_of(build(weights[w]), view.setting.test, labels is not None, **options)
                    seen = replace(seen, bits=bits.to(features.device))
                kept[keys[w, seed]] = {
                    "rule": config.guidance["name"],
                    "w": w,
                    "seed": seed,
                    "num": num,
                    **measure_all(measures, seen, real.train, said),
                    **drawn,
                    "evaluations": swept.evaluations,
                    **compared,
                }
    rows = [{**kept[key], **({} if rule is None else {"rule": rule})} for key in keys.values()]
    of_real = measure_all(measures, real.test, real.train, said)
    held_out = {"rule": REAL, "num": len(real.test), **of_real, "evaluations": 0.0, **compared}
    return [*rows, {column: held_out.get(column) for column in rows[0]}]


def measure_all(
    measures: Mapping[str, metrics.Metric], seen: Seen, reference: Seen, said: set[str]
) -> dict[str, float | None]:
    """Every metric by its name, and the standard error of one that knows it as ``name_error``.

    What real data have none of, as no model is theirs, is None. What metrics warn of goes to the log, unless it was
    ``said`` before.
    """
    measured: dict[str, float | None] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name, measure in measures.items():
            if "bits" in measure.needs and seen.bits is None:
                measured[name] = None
            elif hasattr(measure, "with_error"):
                measured[name], measured[f"{name}_error"] = measure.with_error(seen, reference)
            else:
                measured[name] = measure(seen, reference)
    for sentence in dict.fromkeys(str(warning.message) for warning in caught):
        if sentence not in said:
            log.warning("%s", sentence)
            said.add(sentence)
    return measured


def _weighted(node: Mapping[str, Any], w: Any) -> dict[str, Any]:
    """The node of one weight."""
    return dict(node) if w is None else {**node, "w": w}
