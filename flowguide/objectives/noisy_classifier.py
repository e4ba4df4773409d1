r"""Cross-entropy on the noisy states of a path, for the classifiers that guidance needs.

.. math:: L = -E_{t, (z, y), \varepsilon}\, c_t \log p(y \mid x_t, t), \qquad x_t = \alpha_t z + \sigma_t \varepsilon,

whose minimiser is the posterior :math:`p_t(y \mid x)` on that path, at every time. The noise is independent of the
data, whatever coupling the field is trained with: that is what makes the gradient a difference of scores.

Source: Dhariwal & Nichol (2021), arXiv 2105.05233, section 4; their random crops are shifts here.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..fields import Posterior
from .base import objectives
from .classification import Classification, shifted
from .time_sampling import TimeSampling, time_samplings

_PARTS = 4  # of the interval of times, whose accuracies are reported


@objectives.register("noisy_classifier")
class NoisyClassification(Classification):
    """Cross-entropy of a classifier of noisy states, on images shifted at random; reports accuracy by time.

    Args:
        shift: Largest shift in pixels, in each direction; what moves in is the border repeated.
        label_smoothing: Share of the target that is spread over all classes, in [0, 1). With any, the gradient is not
            that of the posterior.
        time: Law of the times: a name, or a name and options, ``{"name": ..., ...}``.
    """

    trains = Posterior

    def __init__(self, shift: int = 0, label_smoothing: float = 0.0, time: str | Mapping[str, Any] = "uniform") -> None:
        super().__init__(shift, label_smoothing)
        self.time: TimeSampling = time_samplings.choose(time)

    def losses(self, model: Posterior, data: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        if cond is None:
            raise ValueError("a classifier needs labels, and this data set has none")
        options = {"generator": generator, "dtype": data.dtype, "device": data.device}
        # The order of the draws is part of what a seed means: times, noise, shifts.
        t, factor = self.time.draw(len(data), model.path, model.t_min, model.t_max, **options)
        noise = torch.randn(data.shape, **options)
        data = shifted(data, self.shift, generator) if self.shift else data
        log_probs = model(model.path.interpolate(data, noise, t).x, t)
        right = (log_probs.argmax(1) == cond).to(data)
        self.report = accuracies(right.detach(), t, model.t_min, model.t_max)
        # Cross-entropy takes logits, and logarithms of probabilities are logits.
        loss = functional.cross_entropy(log_probs, cond, reduction="none", label_smoothing=self.label_smoothing)
        return factor * loss


def accuracies(right: Tensor, t: Tensor, t_min: float, t_max: float) -> dict[str, Tensor]:
    """The mean of ``right``, shape (B,), in each quarter of the times; NaN where there is no sample."""
    part = ((t - t_min) / (t_max - t_min) * _PARTS).long().clamp(0, _PARTS - 1)
    mine = functional.one_hot(part, _PARTS).to(right)
    means = (right @ mine) / mine.sum(0)
    edges = [t_min + (t_max - t_min) * i / _PARTS for i in range(_PARTS + 1)]
    return {f"accuracy/t_{edges[i]:.3g}_to_{edges[i + 1]:.3g}": means[i] for i in range(_PARTS)}
