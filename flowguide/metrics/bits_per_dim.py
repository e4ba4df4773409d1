"""Bits per dimension of held-out data under the model that the samples come from."""

from .base import Metric, Seen, metrics


@metrics.register("bits_per_dim")
class BitsPerDim(Metric):
    """Bits per dimension of held-out data under the guided flow itself, an upper bound; lower is better. Slow."""

    title = "bits per dimension"
    better = "lower"
    needs = ("bits",)

    def __call__(self, samples: Seen, reference: Seen) -> float:
        self.check(samples, reference)
        return float(samples.bits.double().mean())
