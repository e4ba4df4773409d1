r"""Sequential Monte Carlo: classifier-free guidance, corrected to sample the tilted density.

The guided flow does not sample :math:`p(x)\, p(y \mid x)^w`, since the mixed score is not that of any diffusing
density. Along the guided SDE of any diffusion the densities :math:`\gamma_t \propto p_t^{1 - w}\, p_t(\cdot \mid y)^w`
are sampled by particles whose weights grow as (Feynman-Kac)

.. math::
    d \log W = w (w - 1)\, | \hat\varepsilon_c - \hat\varepsilon_u |^2\, d\lambda
             = w (w - 1)\, \frac{\tau}{1 - \tau}\, | f_c - f_u |^2\, d\tau,

with :math:`\lambda = \log \alpha / \sigma`, and on the right the same in straight coordinates,
:math:`\tau = \alpha / (\alpha + \sigma)`, :math:`f = \hat z - \hat\varepsilon`, where it is finite at both ends.
Particles of great weight are multiplied and the others dropped as soon as the effective number of those of a condition,
:math:`(\sum W)^2 / \sum W^2`, falls below a share of them.

Source: Skreta et al. (2025), arXiv 2503.02819; systematic resampling is Kitagawa (1996), J. Comput. Graph. Stat. 5(1).
"""

import torch
from torch import Tensor

from ..fields import Field, Given, Run
from ..paths import Prediction
from ..randomness import numbers_of, uniform
from .base import guidance
from .pair import Pair
from .weights import Weight

_STREAM = 2**31  # of random numbers: beyond those of any solver's steps


@guidance.register("smc")
class SequentialMonteCarlo(Pair):
    """Feynman-Kac correction of cfg: particles that sample the tilted density p(x) p(y | x)^w itself.

    The samples of a batch with the same condition are the particles of one population: the more, the better, some
    hundreds at least. They depend on one another. It wants an SDE solver of single steps, such as euler_maruyama with
    the diffusion matched, and some hundred steps.

    Args:
        field: A field that knows its null condition.
        w: The weight; in a run one number for all samples.
        threshold: Share of the particles below which the effective number of them may not fall, in [0, 1].
        batched: Whether the field is evaluated once on a doubled batch; None for whatever is the faster.

    Attributes:
        report: Of the latest run, for every step the effective share of the particles before they were resampled, the
            least over all conditions.
    """

    starts_at_reference = True
    conditional_at_1 = True
    affine_in_w = True
    between_steps = True
    draws = True
    independent = False

    def __init__(self, field: Field, w: Weight = 1.0, threshold: float = 0.5, batched: bool | None = None) -> None:
        super().__init__(field, w, batched)
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is a share of the particles, in [0, 1], not {threshold}")
        if isinstance(self.plain, Given):
            raise ValueError(
                "smc resamples among the samples of one condition, and here each has an image of its own: take cfg"
            )
        self.threshold = threshold
        self.report: list[float] = []
        self._run: Run | None = None

    @property
    def power(self) -> float | None:
        return self.power_of(self.w)

    def for_run(self, run: Run) -> "SequentialMonteCarlo":
        if not isinstance(self.w, float):
            raise ValueError(
                "smc needs one number for w in a run, since its samples are weighed against each other at all times"
            )
        fresh = self.copy_for(run)
        fresh._run, fresh.report = run, []
        straight = torch.sigmoid(self.path.half_log_snr(run.times))
        # The trapezoidal rule: half of the steps on both sides. At the last time, which no step sets out from, the
        # integrand is 0 where the noise has gone.
        lengths = torch.nn.functional.pad(straight.diff(), (1, 0))
        halves = (lengths[:-1] + lengths[1:]) / 2
        fresh._rates = (straight[:-1] / (1 - straight[:-1]) * halves).tolist()
        fresh._log_weights, fresh._increments, fresh._step = None, None, 0
        self.report = fresh.report  # so that whoever built the rule finds it
        return fresh

    def combine(self, u: Prediction, c: Prediction, w: float | Tensor) -> Prediction:
        # The first evaluation of a step is where it sets out; at the last time none does.
        if self._run is not None and self._increments is None and self._step < len(self._rates):
            difference = (c.mean_of(1.0, -1.0) - u.mean_of(1.0, -1.0)).double().square().flatten(1).sum(1)
            self._increments = self.w * (self.w - 1) * self._rates[self._step] * difference
        return u.lerp(c, w)

    def after_step(self, x: Tensor, step: int) -> Tensor:
        x = super().after_step(x, step)
        self._step = step
        increments, self._increments = self._increments, None
        run = self._run
        if run is None or run.cond is None or increments is None:
            return x
        self._log_weights = increments if self._log_weights is None else self._log_weights + increments
        index, shares = torch.arange(len(x), device=x.device), []
        last = step == len(run.times) - 1  # what is given out is of equal weight
        for number, label in enumerate(run.cond.unique(dim=0)):
            members = (run.cond == label).flatten(1).all(1) if run.cond.ndim > 1 else run.cond == label
            members = members.nonzero()[:, 0]
            weights = self._log_weights[members].softmax(0)
            shares.append(float(1 / weights.square().sum()) / len(members))
            if last or shares[-1] < self.threshold:
                one = int(numbers_of(run.first, len(x))[0]) + number
                u = uniform((1, 1), run.seed, stream=_STREAM + step, first=one, dtype=torch.float64)
                index[members] = members[systematic(weights, float(u))]
                self._log_weights[members] = 0.0
        self.report.append(min(shares))
        return x[index]


def systematic(weights: Tensor, u: float) -> Tensor:
    """Indices drawn with probabilities ``weights``, shape (N,), each as often as N times its own, up to rounding.

    Args:
        weights: Shape (N,), summing to 1.
        u: A uniform number in [0, 1).
    """
    count = len(weights)
    points = (torch.arange(count, dtype=torch.float64, device=weights.device) + u) / count
    return torch.searchsorted(weights.double().cumsum(0), points).clamp(max=count - 1)
