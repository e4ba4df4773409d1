r"""Times drawn where the loss is, and their losses divided by how often they are drawn.

The expected loss of a perfect field at time t is :math:`w(t)\, E\|\hat z - z\|^2`. For normal data of unit variance
the last is :math:`\sigma^2 / r^2` per dimension, with :math:`r^2 = \alpha^2 + \sigma^2`, so that times are drawn from

.. math:: p(t) = (1 - m)\, \frac{w \sigma^2 / r^2}{\int w \sigma^2 / r^2\, dt} + \frac{m}{t_{\max} - t_{\min}}

and losses multiplied by :math:`1 / ((t_{\max} - t_{\min})\, p(t))`. Expectations are those of uniform times, exactly,
whatever the weighting of the loss itself and however well it was chosen here; what changes is their variance. The
uniform share m bounds the factors by 1 / m.

Sources: importance sampling of times: Nichol & Dhariwal (2021), arXiv 2102.09672, section 3.3; the uniform share:
Hesterberg (1995), Technometrics 37:2.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..paths import Path
from .time_sampling import Times, TimeSampling, time_samplings
from .weighting import Weighting, weightings

_CELLS = 1024


@time_samplings.register("importance")
class Importance(TimeSampling):
    """Times in proportion to a weighted loss, which is divided by that: uniform expectations, less noise.

    Args:
        weighting: Of the error of the data; that of the objective, unless you know better: a name, or a name and
            options, ``{"name": ..., ...}``.
        uniform: Share of the times that are uniform all the same, in (0, 1].
    """

    def __init__(self, weighting: str | Mapping[str, Any] = "velocity", uniform: float = 0.1) -> None:
        if not 0 < uniform <= 1:
            raise ValueError(f"the time sampling importance needs a uniform share in (0, 1], not {uniform}")
        self.weighting: Weighting = weightings.choose(weighting)
        self.uniform = uniform
        self._known: dict[tuple[Path, float, float, str], Tensor] = {}

    def draw(
        self,
        count: int,
        path: Path,
        t_min: float,
        t_max: float,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Times:
        shares = self.shares(path, t_min, t_max, device)
        u = torch.rand(count, generator=generator, device=device, dtype=torch.float64)
        ends = shares.cumsum(0)
        cell = torch.searchsorted(ends, u * ends[-1], right=True).clamp(max=_CELLS - 1)
        # What is left of u tells where in its cell the time is.
        within = 1 - (ends[cell] - u * ends[-1]) / shares[cell]
        t = t_min + (t_max - t_min) * (cell + within) / _CELLS
        dtype = dtype or torch.get_default_dtype()
        return Times(t.to(dtype), (1 / (_CELLS * shares[cell])).to(dtype))

    def shares(self, path: Path, t_min: float, t_max: float, device: torch.device | str | None = None) -> Tensor:
        """Probabilities of equal cells of [t_min, t_max], float64, shape (1024,); they are kept on each device.

        The density is constant in a cell, and divided by as it is: its coarseness costs no exactness.
        """
        key = (path, t_min, t_max, str(device))
        if key not in self._known:
            middles = t_min + (t_max - t_min) * (torch.arange(_CELLS, dtype=torch.float64) + 0.5) / _CELLS
            c = path.at(middles, middles)
            loss = self.weighting(c) / (c.alpha**2 + c.sigma**2)
            if not (loss.isfinite().all() and (loss >= 0).all() and loss.sum() > 0):
                raise ValueError(
                    f"the weighting {type(self.weighting).__name__} is negative, infinite or zero everywhere on "
                    f"{path!r}, so that times cannot be drawn in proportion to it"
                )
            self._known[key] = ((1 - self.uniform) * loss / loss.sum() + self.uniform / _CELLS).to(device)
        return self._known[key]
