"""The share of samples that a classifier gives the label that was asked for."""

from .base import Metric, Seen, metrics


@metrics.register("label_accuracy")
class LabelAccuracy(Metric):
    """Share of samples that the classifier gives the asked-for label, from 0 to 1; higher is better."""

    title = "label accuracy"
    better = "higher"
    needs = ("logits", "labels")

    def __call__(self, samples: Seen, reference: Seen) -> float:
        self.check(samples, reference)
        return float((samples.logits.argmax(1) == samples.labels).double().mean())
