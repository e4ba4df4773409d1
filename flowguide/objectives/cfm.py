r"""Conditional flow matching.

.. math:: L = E_{t, z, \varepsilon} \left\| u(x_t, t, y) - (\dot\alpha_t z + \dot\sigma_t \varepsilon) \right\|^2,
    \qquad x_t = \alpha_t z + \sigma_t \varepsilon,

whose minimiser is the marginal velocity. :math:`\varepsilon` may come from any source law in place of Gaussian noise:
the flow then carries that law to the data. On such a path data, noise and velocity keep their meaning, as posterior
means of :math:`z`, of the source sample and of :math:`\dot x_t`; the score, and all that is made of it, has none.

Sources: Lipman et al. (2022), arXiv 2210.02747, Eq. 14; for any source, Liu, Gong & Liu (2022), arXiv 2209.03003,
Eq. 1, and Tong et al. (2023), arXiv 2302.00482, section 3.
"""

from torch import Tensor

from ..paths import Prediction
from .base import objectives
from .regression import Regression


@objectives.register("cfm")
class ConditionalFlowMatching(Regression):
    """Conditional flow matching, the mean squared error of the velocity, with label dropout per sample."""

    takes_source = True

    def errors(self, guess: Prediction, truth: Prediction) -> Tensor:
        return (guess.velocity - truth.velocity).square().flatten(1).mean(1)
