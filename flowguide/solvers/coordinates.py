r"""The coordinates in which a step is taken: every probability flow has several, and a solver may choose.

Along the flow of any path, with :math:`\hat z, \hat\varepsilon` the posterior means of data and noise at the state,

.. math:: \frac{d}{dc} \frac{x}{r} = f,

for each of these choices of the scale r, the clock c and the slope f (:math:`\lambda = \log \alpha / \sigma`):

=========  =====================================  =============================  ===============================
name       r                                      c                              f
=========  =====================================  =============================  ===============================
path       1                                      t                              velocity
straight   :math:`\alpha + \sigma`                :math:`\alpha / r`             :math:`\hat z-\hat\varepsilon`
polar      :math:`\sqrt{\alpha^2 + \sigma^2}`     :math:`\arctan \alpha/\sigma`  -v / r
data       :math:`\sigma`                         :math:`\alpha / \sigma`        :math:`\hat z`
noise      :math:`\alpha`                         :math:`\sigma / \alpha`        :math:`\hat\varepsilon`
=========  =====================================  =============================  ===============================

All but the first see only the ratio of alpha to sigma, so that a solver that works in them takes the same samples on
every path. Straight coordinates turn any path into the linear one. Euler's method is DDIM in straight, data and noise
coordinates; in polar ones it is another. What is called an exponential integrator elsewhere is an ordinary integrator
in data or noise coordinates, whose clocks are infinite where :math:`\sigma = 0` and where :math:`\alpha = 0`; straight
and polar ones are finite throughout.

Sources: Karras et al. (2022), arXiv 2206.00364, section 3 (noise); Lu et al. (2022), arXiv 2211.01095, Eq. 8 (data);
Salimans & Ho (2022), arXiv 2202.00512, appendix D (polar).
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..paths import Numbers, Path, Prediction
from ..registry import Registry

registry = Registry("coordinates")


class Coordinates(ABC):
    """One row of the table above, equal to others of that row. Times are float64 of any shape; states as everywhere."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    @abstractmethod
    def scale(self, path: Path, t: Tensor) -> Tensor:
        """r at ``t``."""

    @abstractmethod
    def clock(self, path: Path, t: Tensor) -> Tensor:
        """c at ``t``, monotone; may be infinite at the ends."""

    @abstractmethod
    def time(self, path: Path, clock: Tensor) -> Tensor:
        """The time at which :meth:`clock` has a value."""

    @abstractmethod
    def slope(self, prediction: Prediction, c: Numbers) -> Tensor:
        """f, shape (B, *), of a prediction at a time when the path's coefficients are ``c``."""


@registry.register("path")
class OfPath(Coordinates):
    """The path's own state and time: the slope is the velocity."""

    def scale(self, path: Path, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def clock(self, path: Path, t: Tensor) -> Tensor:
        return t

    def time(self, path: Path, clock: Tensor) -> Tensor:
        return clock

    def slope(self, prediction: Prediction, c: Numbers) -> Tensor:
        return prediction.velocity


@registry.register("straight")
class Straight(Coordinates):
    """Those in which the path is the linear one: finite throughout, on every path."""

    def scale(self, path: Path, t: Tensor) -> Tensor:
        return path.alpha(t) + path.sigma(t)

    def clock(self, path: Path, t: Tensor) -> Tensor:
        return path.alpha(t) / (path.alpha(t) + path.sigma(t))

    def time(self, path: Path, clock: Tensor) -> Tensor:
        return path.time_at(torch.logit(clock))

    def slope(self, prediction: Prediction, c: Numbers) -> Tensor:
        return prediction.mean_of(1.0, -1.0, c)


@registry.register("polar")
class Polar(Coordinates):
    """Those in which the path is the trigonometric one, a turn at constant speed."""

    def scale(self, path: Path, t: Tensor) -> Tensor:
        return torch.hypot(path.alpha(t), path.sigma(t))

    def clock(self, path: Path, t: Tensor) -> Tensor:
        return torch.atan2(path.alpha(t), path.sigma(t))

    def time(self, path: Path, clock: Tensor) -> Tensor:
        return path.time_at(clock.sin().log() - clock.cos().log())

    def slope(self, prediction: Prediction, c: Numbers) -> Tensor:
        r = math.hypot(c.alpha, c.sigma)
        return prediction.mean_of(c.sigma / r, -c.alpha / r, c)


@registry.register("data")
class Data(Coordinates):
    """Those in which the slope is the data prediction; not where sigma = 0."""

    def scale(self, path: Path, t: Tensor) -> Tensor:
        return path.sigma(t)

    def clock(self, path: Path, t: Tensor) -> Tensor:
        return path.alpha(t) / path.sigma(t)

    def time(self, path: Path, clock: Tensor) -> Tensor:
        return path.time_at(clock.log())

    def slope(self, prediction: Prediction, c: Numbers) -> Tensor:
        return prediction.mean_of(1.0, 0.0, c)


@registry.register("noise")
class Noise(Coordinates):
    """Those in which the slope is the noise prediction; not where alpha = 0."""

    def scale(self, path: Path, t: Tensor) -> Tensor:
        return path.alpha(t)

    def clock(self, path: Path, t: Tensor) -> Tensor:
        return path.sigma(t) / path.alpha(t)

    def time(self, path: Path, clock: Tensor) -> Tensor:
        return path.time_at(-clock.log())

    def slope(self, prediction: Prediction, c: Numbers) -> Tensor:
        return prediction.mean_of(0.0, 1.0, c)


STRAIGHT = Straight()
