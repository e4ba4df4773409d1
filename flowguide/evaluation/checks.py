"""Whether samples, a reference, features and metrics go together: asked before anything is drawn."""

from collections.abc import Mapping

import torch

from .. import metrics
from ..data import Samples
from ..training import TrainConfig
from .features import Features


def check_reference(reference: Samples, shape: tuple[int, ...], num_classes: int | None, run: str) -> None:
    """ValueError if samples of the shape and of all classes cannot be compared with the reference.

    Args:
        reference: The real data.
        shape: Of a sample of the run.
        num_classes: Classes that samples are drawn of; None if they have none.
        run: What the run is called.
    """
    if tuple(reference.shape) != shape:
        theirs, ours = ("x".join(map(str, each)) for each in (reference.shape, shape))
        raise ValueError(
            f"the reference, {reference.name}, is at another resolution: it holds samples of {theirs}, and {run} makes "
            f"{ours}; give one of that shape, reference={{name: ..., size: ...}}, or null for the run's own data"
        )
    if num_classes is None or reference.labels is None:
        return
    counts = torch.bincount(reference.labels.cpu(), minlength=num_classes)
    missing = (counts[:num_classes] == 0).nonzero().flatten().tolist()
    if missing:
        named = [str(each) if reference.classes is None else f"{each} ({reference.classes[each]})" for each in missing]
        raise ValueError(
            f"the reference, {reference.name}, holds no sample of class {', '.join(named)}, and samples are drawn of "
            f"all {num_classes} classes alike: no metric that compares the two is fair"
        )


def check_needs(measures: Mapping[str, metrics.Metric], features: Features, name: str, num_classes: int | None) -> None:
    """ValueError if a metric needs what the features do not give, or labels of samples that have none."""
    for title, measure in measures.items():
        needs = set(getattr(measure, "needs", ()))
        lacking = needs - set(features.gives) if "logits" in needs else set()
        if lacking:
            what = "a classifier's logits" if "logits" in lacking else "a classifier of the data's own labels"
            raise ValueError(
                f"the metric {title!r} needs {what}, which the features {name!r} do not have: leave it out of "
                f"metrics=[...], or take features=classifier"
            )
        if "labels" in needs and num_classes is None:
            raise ValueError(f"the metric {title!r} needs labels, and the run has none: leave it out of metrics=[...]")


def check_bits(measures: Mapping[str, metrics.Metric], held_out: Samples, run: TrainConfig) -> None:
    """ValueError if a metric needs the likelihood of data that have none, or of a run that has none."""
    needing = [title for title, measure in measures.items() if "bits" in measure.needs]
    if not needing:
        return
    reason = None
    if held_out.levels is None:
        reason = f"is of data that take few values, as images do, and {held_out.name} holds others"
    elif tuple(held_out.shape) != tuple(run.shape or ()):
        reason = "needs the likelihood of images, and this run's is of their latents"
    elif run.conditioner is not None and run.conditioner["name"] != "label":
        reason = f"is of data under their labels, and this run is told {run.conditioner['name']!r}"
    elif run.source is not None:
        reason = (
            f"needs the likelihood of a flow that starts from noise, and this one starts from {run.source['name']!r}"
        )
    if reason is not None:
        raise ValueError(f"the metric {needing[0]!r} {reason}: leave it out of metrics=[...]")
