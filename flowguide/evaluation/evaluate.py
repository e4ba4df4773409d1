"""Samples of a run, or of a cascade, at several guidance weights and seeds, measured against the real data."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from .. import metrics
from ..digest import digest_of
from ..metrics import Seen
from ..training import Ranks, joined, pixel_data
from .bits import bits_of
from .checks import check_bits, check_needs, check_reference
from .config import EvaluateConfig
from .kept import Kept, Row
from .makers import Maker, weighted
from .of_cascade import OfCascade
from .of_run import OfRun
from .sweep import sweep
from .tables import REAL
from .view import Views

log = logging.getLogger(__name__)


def evaluate(
    config: EvaluateConfig, out: Path, show: bool = True, rule: str | None = None, views: Views | None = None
) -> list[Row]:
    """Measure a run, or a cascade of runs, at every guidance weight for every seed.

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
    measures = {name: metrics.build(name) for name in config.metrics}
    maker: Maker = OfRun(config) if config.cascade is None else OfCascade(config)
    weights = maker.weights
    for w in weights.values():  # all of them now, for whatever is wrong to be said
        maker.build(w)
    pixels, shape = pixel_data(maker.config)
    view = views(config.reference or pixels, config.features, config.classifier, config.device, show)
    num = config.num or len(view.setting.test)
    told = maker.told(num)
    labels, num_classes = told.labels, told.num_classes
    check_reference(view.setting.train, shape, num_classes, maker.name)
    features = view.features
    check_needs(measures, features, config.features["name"], num_classes)
    check_bits(measures, view.setting.test, maker.config)
    real = view.real

    compared = {
        "features": real.caption,
        "resize": features.resize,
        "reference": "training data" + (f" of {config.reference['name']}" if config.reference else ""),
        "reference_num": len(real.train),
    }
    settings = {
        "rule": maker.digest,
        "features": features.digest,
        "reference": real.digest,
        **{name: asdict(config)[name] for name in ("solver", "metrics", "batch_size", "temperature")},
        "columns": [*maker.about, *compared, "errors"],
        **maker.key,
    }
    ranks.wait()  # for none to read while another one writes
    kept = Kept(out / "points.json", writes=ranks.first)
    ranks.wait()
    said: set[str] = set()
    keys = {
        (w, seed): digest_of(
            {**settings, "guidance": weighted(config.rule, weights[w]), "w": w, "seed": seed, "num": num}
        )
        for w in weights
        for seed in config.seeds
    }
    missing = {seed: {w: weights[w] for w in weights if keys[w, seed] not in kept} for seed in config.seeds}
    share = ranks.share(num)
    index = torch.arange(share.start, share.stop)
    total = len(share) * sum(map(len, missing.values()))
    with tqdm(total=total, desc="evaluating", unit="sample", disable=not show or not total) as bar:
        for seed, wanted in missing.items():
            if not wanted:
                continue
            draw, spent = maker.drawing(seed, index, told)
            for w, swept in sweep(wanted, maker.build, draw, index, config.batch_size, bar.update):
                seen = features.see(ranks.gathered(swept.samples, num), labels)
                if any("bits" in measure.needs for measure in measures.values()):
                    options = {"batch_size": config.batch_size, "ranks": ranks}
                    bits = bits_of(maker.build(weights[w]), view.setting.test, labels is not None, **options)
                    seen = replace(seen, bits=bits.to(features.device))
                kept[keys[w, seed]] = {
                    "rule": maker.rule,
                    "w": w,
                    "seed": seed,
                    "num": num,
                    **measure_all(measures, seen, real.train, said),
                    **maker.about,
                    "evaluations": spent + swept.evaluations,
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
