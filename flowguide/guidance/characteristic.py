r"""Characteristic guidance: classifier-free guidance with what the mixing of scores leaves out.

.. math::
    d = \sigma \left[ \hat\varepsilon_u(x + w\, d) - \hat\varepsilon_c(x + (w - 1)\, d) \right], \qquad
    \tilde F(x) = (1 - w)\, F_u(x + w\, d) + w\, F_c(x + (w - 1)\, d).

By :math:`\sigma \hat\varepsilon = x - \alpha \hat z` the first equation says that both shifted states have the same
data prediction, :math:`\hat z_u(x + w d) = \hat z_c(x + (w - 1) d)`, which is then the guided one; and that :math:`d
\leftarrow d + \beta f`, with :math:`f = -\alpha (\hat z_u - \hat z_c)`, is its damped fixed-point iteration. The
shifts cancel in the mix, so that it is a prediction at x of every kind. For Gaussians the result is the exact score
of the diffused tilted law :math:`p(z)^{1-w} p(z \mid y)^w`, whatever their covariances; for others it is no more than
a correction. Near the noise f is small with :math:`\alpha` and the iteration slow: Anderson's acceleration, the best
combination of the last steps, is what reaches the solution there.

Source: Zheng & Lan (2023), arXiv 2312.07586, section 5, whose weight is :math:`w - 1`; Anderson's acceleration by
Walker & Ni (2011), SIAM J. Numer. Anal. 49(4). Each step evaluates the field twice.
"""

import torch
from torch import Tensor

from ..fields import Field
from ..paths import Prediction, per_sample
from .base import Guidance, guidance
from .pair import Pair
from .spaces import inner, ratio
from .weights import Weight, weight_at


@guidance.register("characteristic")
class CharacteristicGuidance(Pair):
    """Characteristic guidance: cfg at shifted states, found by fixed point; exact for Gaussians.

    Args:
        field: A field that knows its null condition.
        w: The weight: a number, one per sample, shape (B,), or a schedule.
        iterations: Steps of the fixed point, at most; 0 is classifier-free guidance.
        tolerance: A sample is done when its two data predictions differ by no more, root mean square, in data units.
        damping: beta, in (0, 1].
        history: How many steps Anderson's acceleration looks back; 0 for none.
    Raises:
        ValueError: if an option is out of its range.
    """

    starts_at_reference = True
    conditional_at_1 = True
    affine_in_w = False

    def __init__(
        self,
        field: Field,
        w: Weight = 1.0,
        iterations: int = 10,
        tolerance: float = 1e-3,
        damping: float = 1.0,
        history: int = 3,
    ) -> None:
        super().__init__(field, w)
        if iterations < 0 or history < 0:
            raise ValueError(f"iterations and history are at least 0, not {iterations} and {history}")
        if not tolerance >= 0:
            raise ValueError(f"tolerance is a distance, at least 0, not {tolerance}")
        if not 0 < damping <= 1:
            raise ValueError(f"damping is the share of a step that is taken, above 0 and at most 1, not {damping}")
        self.iterations, self.tolerance, self.damping, self.history = iterations, tolerance, damping, history

    @property
    def power(self) -> float | None:
        return self.power_of(self.w)

    @property
    def t_min(self) -> float:
        # Where alpha = 0 all data predictions agree with no state, and the shift would be infinite.
        return max(self.field.t_min, self.path.interval("noise")[0])

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        w = weight_at(self.w, t, x)
        if cond is None or (isinstance(w, float) and w in (0, 1)):
            return super().predict(x, t, cond)
        w = per_sample(w, x.ndim)
        u, c = self.both(x, t, cond)
        alpha = self.path.at(t, x).alpha
        d = torch.zeros_like(x)
        past: list[tuple[Tensor, Tensor]] = []
        for _ in range(self.iterations):
            gap = u.data - c.data
            # A sample that is done stays as it is, so that it does not depend on the others of its batch.
            active = inner(gap, gap) > self.tolerance**2 * x[0].numel()
            if not active.any():
                break
            past = [*past, (d, -alpha * gap)][-self.history - 1 :]
            d = torch.where(active, d + self.step(past), d)
            u, c = self.field(x + w * d, t, None), self.field(x + (w - 1) * d, t, cond)
        mixed = {kind: torch.lerp(getattr(u, kind), getattr(c, kind), w) for kind in ("data", "noise")}
        return Prediction(c.coefficients, x, **mixed)

    def with_conditional(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        return Guidance.with_conditional(self, x, t, cond)  # at x itself, which is not evaluated on the way

    def step(self, past: list[tuple[Tensor, Tensor]]) -> Tensor:
        """The change of d, shape (B, *), from the last d and their f, the newest last."""
        f = past[-1][1]
        if len(past) == 1:
            return self.damping * f
        wide = torch.promote_types(f.dtype, torch.float32)
        ds, fs = (
            torch.stack([entry.flatten(1).to(wide) for entry in column], 2).diff(dim=2)
            for column in zip(*past, strict=True)
        )
        # Columns of unit length: f falls by orders of magnitude from step to step.
        norm = fs.norm(dim=1, keepdim=True)
        ds, fs = ratio(ds, norm), ratio(fs, norm)
        gram = fs.mT @ fs + 10 * torch.finfo(wide).eps * torch.eye(fs.shape[2], dtype=wide, device=f.device)
        weights = torch.linalg.solve(gram, fs.mT @ f.flatten(1).to(wide)[..., None])
        return self.damping * f - ((ds + self.damping * fs) @ weights).reshape(f.shape).to(f.dtype)
