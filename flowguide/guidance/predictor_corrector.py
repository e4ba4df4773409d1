r"""Guidance as predictor and corrector: the conditional flow, and Langevin steps towards the sharpened density.

After each step of any solver along the conditional field, at the time that it has reached,

.. math:: x \leftarrow x + \epsilon\, \tilde s_t(x \mid y) + \sqrt{2 \epsilon}\, n, \qquad
    \tilde s = (1 - w)\, s(x) + w\, s(x \mid y), \qquad \epsilon = 2 (r \sigma_t)^2,

some times. Classifier-free guidance of the SDE does the same in the limit of short steps, with another weight: its
corrector has the power :math:`2 w - 1`.

Source: Bradley & Nakkiran (2024), arXiv 2408.09000, algorithm 2.
"""

import math

from torch import Tensor

from ..devices import sent
from ..fields import Field, Run
from ..paths import Prediction
from ..randomness import normal
from .base import guidance
from .pair import Pair
from .weights import Weight, as_weight, weight_at

_STREAM = 3 * 2**30  # of random numbers: beyond those of any solver's steps


@guidance.register("predictor_corrector")
class PredictorCorrector(Pair):
    """Conditional prediction, and Langevin corrections of weight w between the steps of a solver.

    Args:
        field: A field that knows its null condition.
        w: The weight of the corrector's score: a number, one per sample, shape (B,), or a schedule.
        corrections: Langevin steps after each step of the solver, at least 1; each evaluates the field twice.
        snr: r, the ratio of a Langevin step to the noise, > 0.
        batched: Whether the field is evaluated once on a doubled batch; None for whatever is the faster.
    """

    conditional_at_1 = True
    by_sample = ("corrector",)
    between_steps = True
    draws = True

    def __init__(
        self, field: Field, w: Weight = 1.0, corrections: int = 1, snr: float = 0.16, batched: bool | None = None
    ) -> None:
        super().__init__(field, 1.0, batched)  # what it predicts is the conditional prediction
        if corrections < 1:
            raise ValueError(f"predictor_corrector needs at least 1 correction, not {corrections}")
        if not 0 < snr < math.inf:
            raise ValueError(f"predictor_corrector needs snr > 0, not {snr}")
        self.corrector = as_weight(w)
        self.corrections = corrections
        self.snr = snr
        self._run: Run | None = None

    @property
    def power(self) -> float | None:
        """That of the corrector's score."""
        return self.power_of(self.corrector)

    def for_run(self, run: Run) -> "PredictorCorrector":
        fresh = self.copy_for(run)
        fresh._run = run
        return fresh

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        weight_at(self.corrector, t, x)  # a wrong one is refused now and not after the first step
        return super().predict(x, t, cond)

    def after_step(self, x: Tensor, step: int) -> Tensor:
        x, run = super().after_step(x, step), self._run
        if run is None or run.cond is None:
            return x
        t = sent(run.times[step], x.device, x.dtype)
        sigma = self.path.sigma(run.times[step]).item()
        for m in range(self.corrections if sigma else 0):
            guided: Prediction = Pair.combine(self, *self.both(x, t, run.cond), weight_at(self.corrector, t, x))
            stream = _STREAM + step * self.corrections + m
            noise = normal(x.shape, run.seed, stream=stream, first=run.first, device=x.device, dtype=x.dtype)
            # In units of sigma, as epsilon s = -2 r^2 sigma eps.
            x = x - 2 * self.snr**2 * sigma * guided.noise + 2 * self.snr * sigma * noise
        return x
