"""A trained network on its path."""

import copy
import functools
import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..networks import Encoded, Network
from ..networks.precision import of_another_type
from ..paths import OUTPUTS, Output, Path, Prediction
from .base import NO_NULL, Field, check_labels
from .run import Run

Clock = Callable[[Tensor], Tensor]
ClockName = Literal["timestep", "edm"]
Told = Literal["sometimes", "always", "never"]
Asks = Callable[[Any, int, int | None], Tensor | None]

_SIGMA_DATA = 0.5  # EDM's
_KEPT = 8  # conditions that a run keeps encoded


class NetworkField(Field):
    """A network and what its output means: a prediction of one kind, on one path.

    Args:
        network: Called as ``network(x, t, cond)``; owns its null condition.
        path: The path that it is trained on.
        predicts: What its output is: "velocity", "score", "noise", "data", "v", or "edm" for the output of EDM's
            preconditioning, whose network sees states of unit variance (:mod:`flowguide.paths.base`).
        sigma_data: For "edm" and nothing else, the standard deviation of the data, > 0; None for EDM's 0.5.
        clock: What the network is told of the time, from t to a tensor of its shape; None for t itself. Published
            networks of discrete schedules take "timestep", the ``path.timestep`` of the path ddpm, and those of EDM
            "edm", which is log(sigma / alpha) / 4, on paths where no scale is 0 at an end.
        told: How often it was told conditions while it was trained: "sometimes"; "always", so that it was never without
            one, and its null condition means nothing; or "never", so that conditions mean nothing.

    Attributes:
        asks: Makes conditions of a user's words, as :meth:`conditions` does; None if nobody has told it how.
    """

    asks: Asks | None = None

    def __init__(
        self,
        network: Network,
        path: Path,
        predicts: Output = "velocity",
        sigma_data: float | None = None,
        *,
        clock: Clock | ClockName | None = None,
        told: Told = "sometimes",
    ) -> None:
        super().__init__()
        if told not in get_args(Told):
            raise ValueError(f"a network was told conditions {', '.join(get_args(Told))}, not {told!r}")
        if predicts not in OUTPUTS:
            raise ValueError(f"a network predicts one of {', '.join(OUTPUTS)}, not {predicts!r}")
        if not isinstance(network, Network):
            raise ValueError(
                f"a field needs a network that is called as network(x, t, cond), a subclass of fg.networks.Network; "
                f"{type(network).__name__} is none"
            )
        if sigma_data is not None and predicts != "edm":
            raise ValueError(f"sigma_data is for predicts='edm'; a network that predicts {predicts} takes none")
        if sigma_data is not None and not 0 < sigma_data < math.inf:
            raise ValueError(f"sigma_data is the standard deviation of the data, positive and finite, not {sigma_data}")
        self.network = network
        self.path = path
        self.predicts = predicts
        self.sigma_data = _SIGMA_DATA if predicts == "edm" and sigma_data is None else sigma_data
        self.clock = as_clock(clock, path)
        self.told = told
        self.num_classes = None if told == "never" else network.num_classes
        self.needs_condition = network.needs_condition or (told == "always" and network.null(1) is not None)
        self._interval = path.interval(predicts)
        self._encoded: dict[int, tuple[Tensor, Tensor | Encoded]] | None = None
        self._nulls: dict[int, Tensor] = {}

    @property
    def t_min(self) -> float:
        return self._interval[0]

    @property
    def t_max(self) -> float:
        return self._interval[1]

    def null(self, batch: int) -> Tensor | None:
        return self.network.null(batch) if self.told == "sometimes" else None

    def conditions(self, given: Any = None, num: int = 1, num_classes: int | None = None) -> Tensor | None:
        if self.asks is None:
            return super().conditions(given, num)
        if self.told == "never" and given is None and num_classes is None:
            return None
        return self.asks(given, num, self.num_classes if num_classes is None else num_classes)

    def null_of(self, cond: Tensor) -> Tensor | None:
        return self.network.null_of(cond)

    def for_run(self, run: Run) -> "NetworkField":
        fresh = copy.copy(self)
        fresh._encoded, fresh._nulls = {}, {}
        return fresh

    def encode(self, cond: Tensor | Encoded | None, batch: int) -> Tensor | Encoded | None:
        if self._encoded is None or isinstance(cond, Encoded):
            return super().encode(cond, batch)
        if cond is None:
            if batch not in self._nulls:
                self._nulls[batch] = self.null(batch)
            cond = self._nulls[batch]
        if cond is None:
            return None
        # By the tensor itself, since to look at what it holds would make a GPU wait; it is kept, so that no other can
        # take its place in memory.
        if id(cond) not in self._encoded:
            if len(self._encoded) == _KEPT:
                del self._encoded[next(iter(self._encoded))]
            self._encoded[id(cond)] = cond, self.network.encode(cond)
        return self._encoded[id(cond)][1]

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        if self.predicts != "edm":
            return self.path.predict(self.predicts, self._output(x, t, cond), x, t)
        assert self.sigma_data is not None
        c = self.path.at(t, x)
        return Prediction.from_edm(c, x, self._output(x / c.spread(self.sigma_data), t, cond), self.sigma_data)

    def _output(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        if cond is None and self.needs_condition:
            raise ValueError(f"{NO_NULL}, so it predicts nothing without one: pass cond, one per sample")
        try:
            return self.network(x, t if self.clock is None else self.clock(t), self.encode(cond, len(x)))
        except IndexError:
            # An embedding that was asked for a row it does not have; say which label, if that was it.
            if isinstance(cond, Tensor) and self.num_classes is not None:
                check_labels(cond, self.num_classes, null=not self.needs_condition)
            raise
        except RuntimeError as error:
            if sentence := of_another_type(self.network, error, x=x, cond=cond):
                raise ValueError(sentence) from None
            raise


def as_clock(clock: Clock | ClockName | None, path: Path) -> Clock | None:
    """A clock by its name, if it was named; ValueError if the path has none of that name."""
    if not isinstance(clock, str):
        return clock
    if clock == "edm":
        ends = torch.tensor([path.t_min, path.t_max], dtype=torch.float64)
        if not path.half_log_snr(ends).isfinite().all():
            raise ValueError(
                f"clock='edm' is log(sigma / alpha) / 4, which is infinite at an end of {path!r}: it is for paths as "
                f"edm and ve are"
            )
        return functools.partial(_log_level, path)
    if clock != "timestep":
        raise ValueError(f"a clock is a function of t, 'timestep' or 'edm', not {clock!r}")
    if not hasattr(path, "timestep"):
        raise ValueError(f"clock='timestep' is for paths that have timesteps, as ddpm has, not for {path!r}")
    return path.timestep


def _log_level(path: Path, t: Tensor) -> Tensor:
    """EDM's c_noise: a quarter of the logarithm of the noise level of the unscaled state."""
    return -path.half_log_snr(t) / 4
