"""The share of samples that a classifier gives the label that was asked for."""

from .base import Metric, Seen, metrics


@metrics.register("label_accuracy")
class LabelAccuracy(Metric):
    """Share of samples that the classifier gives the asked-for label, from 0 to 1; higher is better."""

    title = "label accuracy"
    better = "higher"

    def __call__(self, samples: Seen, reference: Seen) -> float:
        return float((samples.logits.argmax(1) == samples.labels).double().mean())
