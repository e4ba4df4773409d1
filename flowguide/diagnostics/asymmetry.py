r"""Asymmetry: how far the Jacobian of a prediction is from symmetric, as that of a gradient is.

.. math:: r = \frac{\left(E\, \|J - J^\top\|_F^2\right)^{1/2}}{\left(E\, \|J\|_F^2\right)^{1/2}} \in [0, 2],

a ratio of averages over states. With random signs v and :math:`A = J - J^\top`

.. math:: E\, |J v - J^\top v|^2 = \|A\|_F^2, \qquad E\, \tfrac12 \left( |J v|^2 + |J^\top v|^2 \right) = \|J\|_F^2:

every draw of the first is at least 0, and exactly 0 if J is symmetric; its variance is
:math:`2 (\|M\|_F^2 - \sum_i M_{ii}^2)` with :math:`M = A^\top A`, none in two dimensions. QCSBM reports
:math:`\mathrm{Asym} = \frac12 \|A\|_F^2` and :math:`\mathrm{NAsym} = r^2 / 4`.

The default is the prediction of the data. Its Jacobian is :math:`(\alpha / \sigma^2)\, \mathrm{Cov}[z \mid x]` where it
is exact, while that of the score has :math:`-I / \sigma^2` besides, which at high noise hides what one looks for.

Asymmetry is not an error by itself. A velocity :math:`u + r` with :math:`\nabla \cdot (p\, r) = 0` has the same
densities as u, and may turn as fast as it likes: the diagnostic ``gauge`` tells such a part from one that matters.

Sources: Chao et al. (2022), arXiv 2209.12753 (QCSBM); Horvat & Pfister (2024), arXiv 2402.03845.
"""

import torch
from torch import Tensor

from ..fields import Field
from ..probing import signs
from .base import Diagnostic, Finding, at_least, check_kind, diagnostics
from .derivatives import Linearised, in_full, pieces
from .statistics import root_of_ratio


@diagnostics.register("asymmetry")
class Asymmetry(Diagnostic):
    """Asymmetry of the Jacobian of a prediction, from 0 (a gradient) to 2.

    Args:
        kind: The prediction: "data", "score", "velocity", "noise" or "v".
        exact: Compute the Jacobian in full, by a backward pass per dimension; None: in up to 32 dimensions.
        probes: Random vectors per sample, if it is not exact. One evaluation of the field serves all of them.
        seed: Of the random vectors.
        chunk: Samples that are evaluated together; None: as many as have 2^15 numbers, or all of them if the field
            holds something per sample, weights say.

    The parts are ``asymmetric`` and ``size``, the squared norms of A and J, each of shape (B,), and ``asym`` and
    ``nasym`` of QCSBM.
    """

    title, unit = "asymmetry", ""

    def __init__(
        self,
        kind: str = "data",
        exact: bool | None = None,
        probes: int = 8,
        seed: int = 0,
        chunk: int | None = None,
    ) -> None:
        self.kind, self.exact, self.seed = check_kind(kind), exact, seed
        self.probes = at_least("probes", probes, 1)
        self.chunk = None if chunk is None else at_least("chunk", chunk, 1)

    def measure(self, field: Field, x: Tensor, t: Tensor, cond: Tensor | None, first: int) -> Finding:
        full = in_full("asymmetry", x, self.exact)
        draws = []
        for state, time, label, start in pieces(field, x, t, cond, self.chunk, full):
            linear = Linearised(lambda s, t=time, y=label: getattr(field(s, t, y), self.kind), state)
            pair = _in_full(linear) if full else self._estimate(linear, first + start)
            varies = _varies(linear, pair[1].mean(0), field.path.at(time, state).sigma)
            draws.append([torch.where(varies, each, 0) for each in pair])
        asymmetric, size = (torch.cat(each, 1) for each in zip(*draws, strict=True))  # (draws, B)
        a, j = asymmetric.mean(0), size.mean(0)
        # The probes of a sample are averaged first: the spread over samples has theirs in it.
        value, error = root_of_ratio(a, j) if len(x) > 1 else root_of_ratio(asymmetric[:, 0], size[:, 0])
        ratio = torch.where(j > 0, a / j.where(j > 0, 1), 0).sqrt().to(x)
        parts = {"asymmetric": a, "size": j, "asym": float(a.mean()) / 2, "nasym": value**2 / 4, "exact": full}
        return Finding(value, error, ratio, parts)

    def _estimate(self, linear: Linearised, first: int) -> tuple[Tensor, Tensor]:
        pairs = []
        for probe in range(self.probes):
            v = signs(linear.x, self.seed, probe, first)
            jv, vj = linear.forward(v).flatten(1).double(), linear.transposed(v).flatten(1).double()
            pairs.append(((jv - vj).square().sum(1), (jv.square() + vj.square()).sum(1) / 2))
        asymmetric, size = zip(*pairs, strict=True)
        return torch.stack(asymmetric), torch.stack(size)


def _in_full(linear: Linearised) -> tuple[Tensor, Tensor]:
    jacobian = linear.jacobian().double()
    return (jacobian - jacobian.mT).square().sum((1, 2))[None], jacobian.square().sum((1, 2))[None]


def _varies(linear: Linearised, size: Tensor, sigma: Tensor) -> Tensor:
    """Whether a prediction depends on the state by more than rounding, shape (B,): not the data's where alpha = 0.

    A step as long as the state and its noise must change it by some units in the last place of the two, or J is
    rounding alone.
    """
    squares = linear.x.detach().double().square() + sigma.double().square()
    step = squares.flatten(1).sum(1).sqrt()
    rounding = 8 * torch.finfo(linear.x.dtype).eps * (step + linear.value.flatten(1).double().norm(dim=1))
    return size.sqrt() * step > rounding
