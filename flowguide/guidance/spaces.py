r"""Rules that act in one kind of prediction, and the geometry that they use there, sample by sample.

.. math::
    \langle a, b \rangle = \sum_i a_i b_i, \qquad
    P_b\, a = \frac{\langle a, b \rangle}{\lVert b \rVert^2}\, b, \qquad
    \mathrm{std}(a)^2 = \frac1n \sum_i (a_i - \bar a)^2,

sums over all dimensions of one sample and never over the batch.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from ..fields import Field
from ..paths import KINDS, Kind, Prediction, per_sample
from ..registry import unknown
from .base import Guidance
from .pair import Pair
from .weights import Weight

# The score is a multiple of the noise, and infinite where sigma = 0.
SPACES: tuple[Kind, ...] = ("data", "noise", "velocity", "v")


class SpacePair(Pair):
    """A pair rule that acts in one kind of prediction.

    Args:
        field: A field that knows its null condition.
        w: The weight, as for :class:`Pair`.
        space: The kind to act in; None for that of the paper.
    """

    space: Kind

    def __init__(self, field: Field, w: Weight = 1.0, space: Kind | None = None) -> None:
        super().__init__(field, w)
        if space is not None:
            self.space = check_space(self, space)

    @abstractmethod
    def blend(self, u: Tensor, c: Tensor, w: float | Tensor) -> Tensor:
        """The guided prediction of the kind ``space``, shape (B, *); w broadcasts against it."""

    def combine(self, u: Prediction, c: Prediction, w: float | Tensor) -> Prediction:
        blended = self.blend(getattr(u, self.space), getattr(c, self.space), per_sample(w, c.x.ndim))
        return Prediction(c.coefficients, c.x, **{self.space: blended.to(c.x.dtype)})


def check_space(rule: Guidance, space: Kind, spaces: tuple[Kind, ...] = SPACES) -> Kind:
    """``space`` if the rule can act in it; ValueError with the reason if not."""
    if space in spaces:
        return space
    if space not in KINDS:
        raise unknown("kind of prediction", space, KINDS)
    why = ": act in noise, of which the score is a multiple" if space == "score" and "noise" in spaces else ""
    raise ValueError(f"{rule.name} acts in {' or '.join(spaces)}, not in {space!r}{why}")


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner product per sample, shape (B, 1, ..., 1), in float32 at least: squares of half precision overflow."""
    wide = torch.promote_types(a.dtype, torch.float32)
    return (a.to(wide) * b.to(wide)).flatten(1).sum(1).reshape(-1, *[1] * (a.ndim - 1))


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 where b is 0, with gradients that are finite there too."""
    zero = b == 0
    return torch.where(zero, 0.0, a / torch.where(zero, 1.0, b))


def root(a: Tensor) -> Tensor:
    """The square root, with the gradient 0 in place of an infinite one where a = 0."""
    zero = a == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, a).sqrt())


def std(a: Tensor) -> Tensor:
    """The standard deviation over the dimensions of each sample, shape (B, 1, ..., 1)."""
    centred = a - a.flatten(1).mean(1).reshape(-1, *[1] * (a.ndim - 1))
    return root(inner(centred, centred) / a[0].numel())
