r"""The quasi-conservative penalty: what the Jacobian of a prediction has of a rotation.

.. math:: P = \frac{1}{2D}\, E_v \left\| J v - J^\top v \right\|^2 = \frac{1}{2D} \left\| J - J^\top \right\|_F^2,
    \qquad E\, v v^\top = I,

with J the Jacobian in x of a prediction of D entries, and v of random signs. It is zero where the prediction is a
gradient. Without the D it is the Asym of Chao et al., :math:`\mathrm{tr}\, J J^\top - \mathrm{tr}\, J J`, whose traces
they estimate by two products with :math:`J^\top`. Ours has the same mean and is, draw by draw, not negative, zero for a
symmetric J, and as a rule of smaller variance; in two dimensions, of none.

One evaluation of the field serves all products, under one dropout mask. :math:`J^\top u` is linear in u, and its own
derivative, transposed, takes v to :math:`J v`. For gradients by weights, products with :math:`J^\top` are enough: with
:math:`c = J v - J^\top v` held fixed,

.. math:: \partial_\theta \| J v - J^\top v \|^2 = 2\, \partial_\theta \left( v^\top J^\top c - c^\top J^\top v \right),

which does not differentiate a :math:`J v` so obtained: torch gets that wrong where there is layer
normalisation, whose second derivative takes mean and variance for constants.

The Jacobian of the score is that of the data with :math:`-I / \sigma^2` added, which hides at high noise what one looks
for, so that the default is the data's. A network that predicts noise or score says little about the data where alpha is
small, and the penalty is large there: :math:`(\sigma / \alpha)^2` times that of the noise. It had better be of the
network's own kind then: on moons and the path vp, a weight of 10 costs a noise network a third more error with the
data's, and 1 % with its own.

Sources: Chao, Sun, Cheng & Lee (2022), arXiv 2209.12753; random signs: Hutchinson (1990), Communications in Statistics
19:2.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..fields import Field
from ..networks.layers import PlainAttention
from ..options import check_options
from ..paths import Kind


class QuasiConservative:
    """The penalty, on a share of every batch.

    Args:
        weight: Of the penalty in the loss, at least 0; 0 is off, and costs nothing.
        share: Of the batch that pays, in (0, 1]: its first samples, which stand for all and bound the cost.
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
        """The penalty of each sample, not yet weighted, and the mean square of its J v, shape (B,) each.

        Those that do not pay have zeros, and those that do so much more that the mean over a shuffled batch is right.

        Args:
            model: What is trained.
            x: States, shape (B, *).
            t: Times, shape (B,).
            cond: Conditions, or None.
            generator: Of the signs.
        """
        batch, n = len(x), math.ceil(self.share * len(x))
        x, t, cond = x[:n], t[:n], None if cond is None else cond[:n]
        signs = torch.randint(2, x.shape, generator=generator, device=x.device).to(x) * 2 - 1
        squares = rotation(lambda x: getattr(model(x, t, cond), self.of), x, signs)
        turned, size = (functional.pad(square * batch / (n * x[0].numel()), (0, batch - n)) for square in squares)
        return 0.5 * turned, size


def rotation(function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """||J v - J^T v||^2, differentiable where gradients are recorded, and ||J v||^2.

    Args:
        function: Of samples, shape (B, *), each by itself, to the same shape.
        x: Where J is taken, shape (B, *).
        v: Shape (B, *).
    Returns:
        Two of shape (B,).
    """
    record = torch.is_grad_enabled()
    with torch.enable_grad(), PlainAttention():
        x, u = x.detach().requires_grad_(), v.detach().requires_grad_()
        output = function(x)
        (backward,) = torch.autograd.grad(output, x, u, create_graph=True)
        (forward,) = torch.autograd.grad(backward, u, v, retain_graph=True)
        difference = (forward - backward).detach()
        square = difference.square().flatten(1).sum(1)
        if record:
            (again,) = torch.autograd.grad(output, x, difference, create_graph=True)
            half = (v * again - difference * backward).flatten(1).sum(1)
            square = square + 2 * (half - half.detach())  # the value of the former, the gradient of the latter
    return square, forward.square().flatten(1).sum(1)
