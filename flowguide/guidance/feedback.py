r"""Feedback guidance: a weight that is larger where the condition is less certain.

.. math::
    \tilde s = (1 - w(x))\, s + w(x)\, s_\theta(x \mid y), \qquad
    w(x) = \frac{\rho}{\rho - (1 - \pi)}, \qquad \rho = \frac{p_\theta(x \mid y)}{p(x)},

which undoes exactly what a conditional model gets wrong if it mixes in the unconditional law,
:math:`p_\theta(x \mid y) = \pi\, p(x \mid y) + (1 - \pi)\, p(x)`: the result is the score of :math:`p(x \mid y)`.

The ratio :math:`\rho` comes from the densities of an exact field; or from a function, such as a classifier of noisy
states, since by Bayes' rule :math:`\rho = p_t(y \mid x) / p(y)`; or, for networks, it is tracked along a run. A step
from t to s multiplies it by the ratio of the probabilities that DDPM's kernels give to the state that was reached,

.. math::
    \Delta \log \rho = \frac{\alpha_s}{\sigma_s^2} \left\langle \hat z_c - \hat z_u,\; x_s - m x_t
        - \alpha_s (1 - q^2)\, \tfrac12 (\hat z_c + \hat z_u) \right\rangle, \qquad
    q = \frac{\alpha_t \sigma_s}{\alpha_s \sigma_t}, \qquad m = q\, \frac{\sigma_s}{\sigma_t},

from :math:`\rho = 1` at pure noise. In the limit of short steps that is exact for every path whose noise is DDPM's,
whatever its drift: the noising processes of both laws have the same kernels, so that the ratio of the probabilities of
a whole path is that of its last state (Girsanov). Solvers of such noise are ``ddim`` with eta = 1 and
``euler_maruyama`` with the diffusion matched. Along the flow the second derivative of :math:`\log \rho` is missing,
and the tracker is a heuristic, which temperature and offset are there to tune.

Source: Koulischer et al. (2025), arXiv 2506.06085, and their code for the bounds of the tracker.
"""

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..fields import Field, Run
from ..paths import Prediction
from .base import guidance
from .pair import Pair


@runtime_checkable
class LogRatio(Protocol):
    """log p(x | y) - log p(x), shape (B,)."""

    def __call__(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor: ...


@guidance.register("feedback")
class FeedbackGuidance(Pair):
    """Feedback guidance: cfg with a weight per state, from the likelihood ratio of conditional and unconditional.

    Args:
        field: A field that knows its null condition.
        pi: The share of the conditional model that is right, in (0, 1]; 1 is no guidance.
        w_max: The largest weight, above 1: where rho <= 1 - pi the formula has none.
        log_ratio: log rho as a function of (x, t, cond), shape (B,); None for that of an exact field, by ``log_prob``,
            or, for any other field, to track it along the run of a solver of single steps.
        track: Whether to track it; None for only where there is no other way.
        temperature: Factor of what the tracker adds in a step.
        offset: What it adds besides over a whole run, in nats, in equal parts; a negative one lets guidance set in.
        ceiling: The largest log rho that the tracker may reach, in nats: it would not find its way back otherwise.
    Raises:
        ValueError: if an option is out of its range.

    Attributes:
        report: Of the latest run that was tracked, the weights after every step, each of shape (B,).

    Outside a run there is nothing to track, and the weight is 1 / pi, that of rho = 1.
    """

    def __init__(
        self,
        field: Field,
        pi: float = 0.9,
        w_max: float = 10.0,
        log_ratio: LogRatio | None = None,
        track: bool | None = None,
        temperature: float = 1.0,
        offset: float = 0.0,
        ceiling: float = 3.0,
    ) -> None:
        super().__init__(field)
        if not 0 < pi <= 1:
            raise ValueError(f"pi is the share of the model that is right, above 0 and at most 1, not {pi}")
        if not w_max > 1:
            raise ValueError(f"w_max is the largest weight, above 1, not {w_max}")
        if not 0 <= temperature < math.inf or not math.isfinite(offset) or not ceiling >= 0:
            raise ValueError(
                f"temperature and ceiling are at least 0 and offset is finite; got {temperature}, {ceiling}, {offset}"
            )
        if track and log_ratio is not None:
            raise ValueError("log_ratio is given, so there is nothing to track: leave out one of the two")
        known = log_ratio is not None or hasattr(field, "log_prob")
        if track is False and not known:
            raise ValueError(
                "feedback needs the likelihood ratio of conditional and unconditional: a field with log_prob, as "
                f"MixtureField, or log_ratio, a function of (x, t, cond), or track; {type(field).__name__} has none"
            )
        self.pi, self.w_max, self.log_ratio = pi, w_max, log_ratio
        self.track = not known if track is None else track
        self.temperature, self.offset, self.ceiling = temperature, offset, ceiling
        self.report: list[Tensor] = []
        self._run: Run | None = None
        self._tracked: Tensor | None = None  # log rho at the state of the last step
        self._began: tuple[Tensor, Tensor, Tensor] | None = None  # the state that the step set out from, both data

    @property
    def between_steps(self) -> bool:
        return self.track or super().between_steps

    def for_run(self, run: Run) -> "FeedbackGuidance":
        if not self.track:
            return super().for_run(run)
        fresh = self.copy_for(run)
        fresh._run, fresh._tracked, fresh._began, fresh.report = run, None, None, []
        self.report = fresh.report  # so that whoever built the rule finds it
        return fresh

    def weight(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """w(x), shape (B,), in [1, w_max]."""
        if self.track:
            log_ratio = x.new_zeros(len(x)) if self._tracked is None else self._tracked
        elif self.log_ratio is not None:
            log_ratio = self.log_ratio(x, t, cond)
        else:
            log_ratio = self.field.log_prob(x, t, cond) - self.field.log_prob(x, t)
        return self._weight(log_ratio).to(x.dtype)

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        if cond is None or self.pi == 1:
            return self.field(x, t, cond)
        return self.with_conditional(x, t, cond)[0]

    def with_conditional(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        if cond is None:
            return super().with_conditional(x, t, cond)
        u, c = self.both(x, t, cond)
        if self._run is not None and self._began is None:
            # The first evaluation of a step is where it sets out. A solver may write the next state into x.
            self._began = x.clone(), u.data, c.data
        return u.lerp(c, self.weight(x, t, cond)), c

    def after_step(self, x: Tensor, step: int) -> Tensor:
        x = super().after_step(x, step)
        began, self._began = self._began, None
        if self._run is None or began is None or step == len(self._run.times) - 1:
            return x
        tracked = x.new_zeros(len(x), dtype=torch.float64) if self._tracked is None else self._tracked
        tracked = tracked + self.temperature * self._increment(*began, x, step)
        tracked = tracked + self.offset / (len(self._run.times) - 1)
        floor = math.log1p(-self.pi) - math.log1p(-1 / self.w_max) if self.pi < 1 else -math.inf
        self._tracked = tracked.clamp(floor, self.ceiling)
        self.report.append(self._weight(self._tracked))
        return x

    def _increment(self, before: Tensor, u: Tensor, c: Tensor, x: Tensor, step: int) -> Tensor:
        """What a step from ``before`` to ``x`` says for the condition, in nats, shape (B,)."""
        assert self._run is not None
        times = self._run.times[step - 1 : step + 1]
        (_, alpha), (sigma_before, sigma) = self.path.alpha(times).tolist(), self.path.sigma(times).tolist()
        q = math.exp(-self.path.half_log_snr(times).diff().item())
        surprise = x - q * sigma / sigma_before * before - alpha * (1 - q * q) * (u + c) / 2
        return alpha / sigma**2 * ((c - u).double() * surprise.double()).flatten(1).sum(1)

    def _weight(self, log_ratio: Tensor) -> Tensor:
        share = (1 - self.pi) * torch.exp(-log_ratio)  # of p_theta(x | y) that is p(x)'s
        most = 1 - 1 / self.w_max
        return torch.where(share < most, 1 / (1 - share.clamp(max=most)), self.w_max)
