r"""Diffusion posterior sampling: the observation's likelihood at the data prediction.

.. math:: C_t = s^2 I, \qquad
    \tilde s(x) = s(x) - \frac{w}{2 s^2} \nabla_x \lVert y - A \hat z(x) \rVert^2 .

It takes the data prediction for the data, as it is where no noise is left; before, the likelihood is taken for much
sharper than it is. Hence the step size of the paper: after a step that set out from x at t, without any other guidance,

.. math:: x' \leftarrow x' - \frac{w}{\lVert y - A \hat z(x) \rVert} \nabla_x \lVert y - A \hat z(x) \rVert^2,

which bounds what a step may change, and makes the law of the samples depend on the number of steps.

Source: Chung, Kim, Mccann, Klasky & Ye (2022), arXiv 2209.14687, algorithm 1, whose zeta' is w; with ``ddim`` and
eta = 1, step by step.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from ..fields import Field, Run
from ..observations import Observation
from ..paths import Coefficients, Prediction
from .base import guidance
from .inverse import Inverse
from .spaces import inner, ratio, root
from .weights import Weight


@guidance.register("dps")
class DPS(Inverse):
    """Diffusion posterior sampling: the score plus w times the gradient of log p(y | data prediction).

    Args:
        field: The field to guide, with or without conditions.
        observation: How the data are seen; in a recipe its name, or its name and options.
        observed: y, one for all samples or one for each; in a recipe a list, or a file .npy or .safetensors.
        w: The weight: a number, one per sample, shape (B,), or a schedule.
        step: "gaussian", with the observation's std > 0, adds to the score; "normalised" moves states between steps by
            the gradient over the norm of the residual, and leaves predictions alone.
    """

    def __init__(
        self,
        field: Field,
        observation: Observation | str | Mapping[str, Any],
        observed: Tensor | Sequence | float | str,
        w: Weight = 1.0,
        step: Literal["gaussian", "normalised"] = "gaussian",
    ) -> None:
        super().__init__(field, observation, observed, w)
        if step not in ("gaussian", "normalised"):
            raise ValueError(f"step is 'gaussian' or 'normalised', not {step!r}")
        if step == "gaussian" and not self.observation.std:
            raise ValueError("dps divides by the observation's std, which is 0: give std > 0, or step=normalised")
        self.step = step
        self._move: Tensor | None = None

    @property
    def between_steps(self) -> bool:
        return self.step == "normalised" or super().between_steps

    def for_run(self, run: Run) -> "DPS":
        fresh = super().for_run(run)
        fresh._move = None
        return fresh

    def whiten(self, residual: Tensor, c: Coefficients, shape: tuple[int, ...]) -> Tensor:
        return residual / self.observation.std**2

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        if self.step == "gaussian":
            return super().predict(x, t, cond)
        w = self.weight(t, x)
        if self._run is None or self._move is not None:  # the first evaluation of a step is where it sets out
            return self.field(x, t, cond)
        prediction, residual, pull = self.look(x, t, cond)
        norm = root(inner(residual, residual)).reshape(-1, *[1] * (x.ndim - 1))
        self._move = (2 * w * ratio(pull(residual), norm)).to(x.dtype)
        return prediction

    def after_step(self, x: Tensor, step: int) -> Tensor:
        if self._move is not None:
            x, self._move = x + self._move, None
        return super().after_step(x, step)
