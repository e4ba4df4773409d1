r"""Diffusions: how much noise the generative SDE stirs in.

For every :math:`g_t \ge 0` the SDE

.. math:: dX = \left[ u_t(X) + \tfrac12 g_t^2\, s_t(X) \right] dt + g_t\, dW

has the marginals of the ODE, which is :math:`g = 0`: the noise is undone on average by the score. ``matched`` is the
reverse of the forward process of the path, :math:`g^2 = 2 \sigma (\dot\alpha\sigma - \alpha\dot\sigma) / \alpha`, which
is beta for the VP-SDE.

To add one, subclass :class:`Diffusion` and register it with ``@fg.solvers.diffusions.register("mine")``.

Sources: Song et al. (2021), arXiv 2011.13456, Eq. 6; Albergo, Boffi & Vanden-Eijnden (2023), arXiv 2303.08797, theorem
2.3; Ma et al. (2024), arXiv 2401.08740 (SiT), whose w is this g^2. There sigma and :math:`\sin^2 \pi t` are choices of
w, and in the code that goes with it, 1 - t among them, of g^2 / 2; here ``sigma``, ``bump`` and ``linear`` set g itself
to them. The same as in that code are ``matched``, and ``decreasing`` with the scale :math:`\sqrt 2`.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..paths import Path
from ..registry import Registry

diffusions = Registry("diffusion")

_MARGIN = 1e-3


class Diffusion(ABC):
    """g as a function of time.

    Args:
        scale: Factor on g, >= 0.
    """

    def __init__(self, scale: float = 1.0) -> None:
        if not 0 <= scale < math.inf:
            raise ValueError(f"a diffusion is scaled by a number of at least 0, not {scale}")
        self.scale = scale

    @abstractmethod
    def shape(self, path: Path, t: Tensor) -> Tensor:
        """g / scale at ``t``, same shape, float64."""

    def __call__(self, path: Path, t: Tensor) -> Tensor:
        """g at ``t``, in data units per square root of time."""
        return self.scale * self.shape(path, t)

    def interval(self, path: Path) -> tuple[float, float]:
        """The times at which both g and g^2 times the score are finite: the path's, or less by a small margin."""
        ends = torch.tensor([path.t_min, path.t_max], dtype=torch.float64)
        start, end = pull(self, path, ends).isfinite().tolist()
        return path.t_min + (0 if start else _MARGIN), path.t_max - (0 if end else _MARGIN)


def pull(diffusion: Diffusion, path: Path, t: Tensor) -> Tensor:
    """:math:`g^2 / 2 \\sigma`: minus the factor of the noise prediction in the drift."""
    g, sigma = diffusion(path, t), path.sigma(t)
    return torch.where(g == 0, 0.0, g**2 / (2 * sigma))


@diffusions.register("zero")
class Zero(Diffusion):
    """g = 0: the ODE."""

    def shape(self, path: Path, t: Tensor) -> Tensor:
        return torch.zeros_like(t)


@diffusions.register("constant")
class Constant(Diffusion):
    """g = scale until shortly before the data, where the score grows without bound, and then 0.

    Args:
        scale: g.
        until: Time from which it is 0; as it nears 1, more and more steps are needed.
    """

    def __init__(self, scale: float = 1.0, until: float = 0.96) -> None:
        super().__init__(scale)
        if not 0 < until < 1:
            raise ValueError(f"constant diffusion ends at a time in (0, 1), not at {until}")
        self.until = until

    def shape(self, path: Path, t: Tensor) -> Tensor:
        return (t < self.until).to(t)


@diffusions.register("sigma")
class Sigma(Diffusion):
    """g = scale * sigma_t: as the noise."""

    def shape(self, path: Path, t: Tensor) -> Tensor:
        return path.sigma(t)


@diffusions.register("matched")
class Matched(Diffusion):
    """g of the path's forward process: the reverse-time SDE of score-SDE."""

    def shape(self, path: Path, t: Tensor) -> Tensor:
        c = path.at(t, t)
        return torch.sqrt(2 * c.sigma * c.determinant / c.alpha)


@diffusions.register("linear")
class Linear(Diffusion):
    """g = scale * (1 - t)."""

    def shape(self, path: Path, t: Tensor) -> Tensor:
        return 1 - t


@diffusions.register("decreasing")
class Decreasing(Diffusion):
    """g = scale * cos^2(pi t / 2): level at both ends."""

    def shape(self, path: Path, t: Tensor) -> Tensor:
        return torch.sin(math.pi / 2 * (1 - t)) ** 2


@diffusions.register("bump")
class Bump(Diffusion):
    """g = scale * sin^2(pi t): none at either end."""

    def shape(self, path: Path, t: Tensor) -> Tensor:
        # By the double angle, since sin(pi) is not 0 in floating point: the interval is to hold both ends.
        return (2 * torch.sin(math.pi / 2 * t) * torch.sin(math.pi / 2 * (1 - t))) ** 2
