"""Samples of a run at several guidance weights and seeds, measured against the real data."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .. import guidance, metrics, solvers
from ..digest import digest_of, digest_of_module
from ..fields import Field
from ..metrics import Seen
from ..training import (
    Ranks,
    joined,
    load_generative,
    pixel_data,
    some_samples,
    with_models,
)
from .bits import bits_of
from .checks import check_bits, check_needs, check_reference
from .conditions import drawn_conditions
from .config import EvaluateConfig
from .kept import Kept, Row
from .sweep import sweep
from .tables import REAL, UNGUIDED, label_of
from .view import Views

log = logging.getLogger(__name__)


def evaluate(
    config: EvaluateConfig, out: Path, show: bool = True, rule: str | None = None, views: Views | None = None
) -> list[Row]:
    """Measure a run at every guidance weight for every seed.

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
    node = with_models(config.rule, model, config.ema)
    weights = config.swept

    def build(w: Any) -> Field:
        return model if node is None else guidance.registry.build_from(_weighted(node, w), model)

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
            {**settings, "guidance": _weighted(config.rule, weights[w]), "w": w, "seed": seed, "num": num}
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
                    "rule": config.rule["name"] if config.rule else UNGUIDED,
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


def _weighted(node: Mapping[str, Any] | None, w: Any) -> Mapping[str, Any] | None:
    """The node of one weight."""
    return node if w is None else {**node, "w": w}
