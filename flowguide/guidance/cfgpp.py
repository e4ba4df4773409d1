r"""CFG++: guidance of the data, renoised with the unconditional noise.

.. math:: x_s = \alpha_s \left[ (1 - \kappa)\, \hat z_u + \kappa\, \hat z_c \right] + \sigma_s\, \hat\varepsilon_u,
    \qquad \kappa \in [0, 1],

from t to s. That is the DDIM step of classifier-free guidance whose weight follows from the length of the step,

.. math:: w = \frac{\kappa}{1 - e^{-h}}, \qquad h = \log \frac{\alpha_s}{\sigma_s} - \log \frac{\alpha_t}{\sigma_t},

large where steps are short. It is a rule of the steps of a run, with no limit as they become many; any solver takes it,
and with ``ddim`` it is CFG++. Outside a run it is the one step from t to the data, :math:`w = \kappa`.

Source: Chung et al. (2024), arXiv 2406.08070, algorithm 2, whose lambda is :math:`\kappa`.
"""

import torch
from torch import Tensor

from ..fields import Field, Run
from ..paths import Prediction
from .base import guidance
from .pair import Pair
from .steps import PerStep
from .weights import Weight


@guidance.register("cfgpp")
class CFGPlusPlus(Pair):
    """CFG++: cfg with the weight w / (1 - exp(-h)), h the step of the run in log(alpha / sigma).

    Args:
        field: A field that knows its null condition.
        w: The paper's lambda, in [0, 1] there: a number, one per sample, shape (B,), or a schedule.
        batched: Whether the field is evaluated once on a doubled batch; None for whatever is the faster.
    """

    affine_in_w = True

    def __init__(self, field: Field, w: Weight = 0.6, batched: bool | None = None) -> None:
        super().__init__(field, w, batched)
        self._factors: PerStep | None = None

    def for_run(self, run: Run) -> "CFGPlusPlus":
        fresh = self.copy_for(run)
        fresh._factors = PerStep(run.times, -1 / torch.expm1(-self.path.half_log_snr(run.times).diff()))
        return fresh

    def combine(self, u: Prediction, c: Prediction, w: float | Tensor) -> Prediction:
        if self._factors is not None:
            t = c.coefficients.t
            w = w * self._factors(t.flatten() if t.ndim else t, c.x)
        return u.lerp(c, w)
