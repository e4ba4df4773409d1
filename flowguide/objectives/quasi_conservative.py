r"""The quasi-conservative penalty: what the Jacobian of a prediction has of a rotation.

.. math:: P = \frac{1}{2D}\, E_v \left\| J v - J^\top v \right\|^2 = \frac{1}{2D} \left\| J - J^\top \right\|_F^2,
    \qquad E\, v v^\top = I,

with J the Jacobian in x of a prediction of D entries, and v of random signs. It is zero where the prediction is a
gradient. :math:`\frac{1}{2} \|J - J^\top\|_F^2` is the Asym of Chao et al., :math:`\mathrm{tr}\, J J^\top - \mathrm{tr}\, J J`,
of which they estimate the traces apart; ours is the same in the mean and, draw by draw, not negative, zero for a
symmetric J, and of smaller variance. In two dimensions it has none: any v of signs gives the exact value.

One linearisation serves both products. :math:`w(u) = J^\top u` is linear in u, so that its own product with v is
:math:`J v`, of the same dropout mask as the first.

The Jacobian of the score is that of the data less :math:`-I / \sigma^2` and times :math:`\sigma^2 / \alpha`, which hides
at high noise what one looks for, so that the default is the data's. A network that predicts noise or score knows the
data badly where alpha is small, and its penalty is large there; with ``of`` its own kind it is even.

Sources: Chao, Sun, Cheng & Lee (2022), arXiv 2209.12753, Eq. 13 and section 4; for the probes, Hutchinson (1990),
Communications in Statistics 19:2.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..fields import Field
from ..options import check_options
from ..paths import Kind


class QuasiConservative:
    """The penalty, on a share of every batch.

    Args:
        weight: Of the penalty in the loss, at least 0; 0 is off, and costs nothing.
        share: Of the batch that pays, in (0, 1]: its first samples, which stand for all. Four samples that pay cost
            about as much as eight that do not: with 0.25 a step takes about twice the time of one without.
        of: The kind of prediction whose Jacobian it is.
    """

    def __init__(self, weight: float = 0.0, share: float = 1.0, of: Kind = "data") -> None:
        if not 0 <= weight < math.inf:
            raise ValueError(f"quasi_conservative is the weight of a penalty, at least 0 and finite, not {weight}")
        if not 0 < share <= 1:
            raise ValueError(f"the share of the batch that pays for quasi_conservative is in (0, 1], not {share}")
        self.weight = weight
        self.share = share
        self.of = of

    @classmethod
    def choose(cls, choice: float | Mapping[str, Any]) -> "QuasiConservative":
        """From what an objective's option says: the weight alone, or a group of settings."""
        options = choice if isinstance(choice, Mapping) else {"weight": choice}
        return cls(**check_options("quasi_conservative", cls, (), options))

    def __call__(
        self, model: Field, x: Tensor, t: Tensor, cond: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """The penalty of the first samples that pay, before its weight, and the mean square of J v, shape (n,) each.

        Args:
            model: What is trained.
            x: States, shape (B, *).
            t: Times, shape (B,).
            cond: Conditions, or None.
            generator: Of the signs.
        """
        n = math.ceil(self.share * len(x))
        x, t, cond = x[:n], t[:n], None if cond is None else cond[:n]
        signs = torch.randint(2, x.shape, generator=generator, device=x.device).to(x) * 2 - 1
        forward, backward = products(lambda x: getattr(model(x, t, cond), self.of), x, signs)
        return 0.5 * _mean_square(forward - backward), _mean_square(forward)


def products(function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """J v and J^T v of a function of samples, both of x's shape, from one evaluation; differentiable where recorded."""
    record = torch.is_grad_enabled()
    # Of the kernels of attention only the plain one can be differentiated twice.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        x, u = x.detach().requires_grad_(), v.detach().requires_grad_()
        (backward,) = torch.autograd.grad(function(x), x, u, create_graph=True)
        (forward,) = torch.autograd.grad(backward, u, v, create_graph=record)
    return (forward, backward) if record else (forward.detach(), backward.detach())


def _mean_square(values: Tensor) -> Tensor:
    return values.square().flatten(1).mean(1)
