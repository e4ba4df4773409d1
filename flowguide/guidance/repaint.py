r"""RePaint: inpainting by putting what is seen into the states, and going back to let the rest agree with it.

After each step of any solver, at the time t that it has reached, the entries that are seen become

.. math:: x \leftarrow \alpha_t y + \sqrt{\sigma_t^2 - \alpha_t^2 s^2}\; n,

the observation as noisy as the state, as long as the state has more noise than the s of the observation; what is then
left the field removes alone. What is not seen has been drawn without regard to it. So every ``jump`` steps the state is
taken back over them, from t to an earlier time r,

.. math:: x \leftarrow \frac{\alpha_r}{\alpha_t} x + \sqrt{\sigma_r^2 - \frac{\alpha_r^2}{\alpha_t^2} \sigma_t^2}\; n,

and forth again by the steps of DDPM, from r to s,

.. math:: x \leftarrow q \frac{\sigma_s}{\sigma_r} x + \alpha_s (1 - q^2)\, \hat z(x) + \sigma_s \sqrt{1 - q^2}\; n,
    \qquad q = \frac{\alpha_r \sigma_s}{\alpha_s \sigma_r},

``resamples`` - 1 times. The more often, the nearer the samples are to the posterior.

Source: Lugmayr, Danelljan, Romero, Yu, Timofte & Van Gool (2022), arXiv 2201.09865, algorithm 1 and section 4.2.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..fields import Field
from ..observations import Observation
from ..observations.mask import Mask
from ..paths import Prediction
from ..randomness import normal
from .base import guidance
from .inverse import Consistent

_STREAM = 2**31 + 2**29  # of random numbers: beyond those of any solver's steps


@guidance.register("repaint")
class RePaint(Consistent):
    """RePaint: what a mask leaves to see, noised, is put into the states after every step, and steps are repeated.

    Predictions are the field's own. It wants a solver of single steps; ``ddim`` with eta = 1 takes those of the paper.

    Args:
        field: The field to guide, with or without conditions.
        observation: A mask; in a recipe its name, or its name and options.
        observed: y, one for all samples or one for each; in a recipe a list, or a file .npy or .safetensors.
        resamples: How often each stretch of steps is taken, at least 1, which is without going back.
        jump: Steps that are gone back over, at least 1; each costs ``resamples`` - 1 evaluations more.
    """

    between_steps = True
    draws = True

    def __init__(
        self,
        field: Field,
        observation: Observation | str | Mapping[str, Any],
        observed: Tensor | Sequence | float | str,
        resamples: int = 10,
        jump: int = 1,
    ) -> None:
        super().__init__(field, observation, observed)
        if not isinstance(self.observation, Mask):
            raise ValueError(
                f"repaint puts what is seen into the states, and so needs the observation 'mask', not "
                f"{type(self.observation).__name__.lower()}"
            )
        if resamples < 1 or jump < 1:
            raise ValueError(f"resamples and jump are at least 1, not {resamples} and {jump}")
        self.resamples, self.jump = resamples, jump

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        self.seen(x)  # a wrong one is refused now and not after the first step
        return self.field(x, t, cond)

    def after_step(self, x: Tensor, step: int) -> Tensor:
        x = super().after_step(x, step)
        if self._run is None:
            return x
        draws = self._draws(x, step)
        x = self._put_in(x, step, draws)
        # Where nothing is put in any more, each time back and forth would forget some of what was.
        if step % self.jump == 0 and self._noise_left(step) >= 0:
            for _ in range(self.resamples - 1):
                x = self._go_back(x, step, draws)
                for n in range(step - self.jump, step):
                    x = self._put_in(self._go_on(x, n, draws), n + 1, draws)
        return x

    def _draws(self, x: Tensor, step: int) -> Iterator[Tensor]:
        """Normal numbers of x's shape, by the run's seed, the step, the sample and how many came before."""
        run = self._run
        most = 1 + (self.resamples - 1) * (1 + 2 * self.jump)
        for k in range(most):
            stream = _STREAM + step * most + k
            yield normal(x.shape, run.seed, stream=stream, first=run.first, device=x.device, dtype=x.dtype)

    def _at(self, step: int) -> tuple[float, float]:
        """alpha and sigma after so many steps."""
        t = self._run.times[step]
        return self.path.alpha(t).item(), self.path.sigma(t).item()

    def _put_in(self, x: Tensor, step: int, draws: Iterator[Tensor]) -> Tensor:
        left, noise = self._noise_left(step), next(draws)
        if left < 0:
            return x
        keep = self.observation.mask(x.shape[1:], x.device)
        return (self._at(step)[0] * self.seen(x) + left**0.5 * noise).where(keep, x)

    def _noise_left(self, step: int) -> float:
        """The variance that the state has beyond that of alpha y; below 0 where y has the more noise."""
        alpha, sigma = self._at(step)
        return sigma**2 - (alpha * self.observation.std) ** 2

    def _go_back(self, x: Tensor, step: int, draws: Iterator[Tensor]) -> Tensor:
        (alpha, sigma), (before, sigma_before) = self._at(step), self._at(step - self.jump)
        share = before / alpha
        return share * x + max(sigma_before**2 - (share * sigma) ** 2, 0.0) ** 0.5 * next(draws)

    def _go_on(self, x: Tensor, step: int, draws: Iterator[Tensor]) -> Tensor:
        (alpha, sigma), (after, sigma_after) = self._at(step), self._at(step + 1)
        q = alpha * sigma_after / (after * sigma)
        data = self.field(x, self._run.times[step], self._run.cond).data
        mean = q * sigma_after / sigma * x + after * (1 - q**2) * data
        return mean + sigma_after * (1 - q**2) ** 0.5 * next(draws)
