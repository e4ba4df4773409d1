r"""What the rules for linear inverse problems have in common: they are guided by what is seen of the data.

Data z are seen as :math:`y = A z + s n` (:mod:`flowguide.observations`). By Bayes' rule the score of the states of
data that are consistent with y is

.. math:: \nabla_x \log p_t(x \mid y) = \nabla_x \log p_t(x) + \nabla_x \log p_t(y \mid x),

whose last term is an integral over the data that may have led to x. The rules approximate the law of these data by a
Gaussian about its mean :math:`\hat z(x)`, which is the data prediction, and take its covariance for constant:

.. math:: p_t(y \mid x) \approx N(y;\, A \hat z(x),\, C_t), \qquad
    \nabla_x \log p_t(y \mid x) \approx J^\top A^\top C_t^{-1} (y - A \hat z(x)), \qquad
    J = \frac{\partial \hat z}{\partial x},

and differ in :math:`C_t`: ``dps``, ``reconstruction`` and ``pigdm``. The Jacobian is that of the network, by one
reverse pass. All add a gradient of a function to the score, which is the same in every kind of prediction.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..fields import Field, Run
from ..observations import Observation
from ..observations import registry as observations
from ..paths import Coefficients, Prediction, per_sample
from ..randomness import numbers_of
from .base import Guidance
from .weights import Weight, as_weight, weight_at


class Consistent(Guidance):
    """A rule that makes samples consistent with an observation.

    Args:
        field: The field to guide, with or without conditions.
        observation: How the data are seen: an Observation, the name of one, or its name and options.
        observed: y: a number, one observation for all samples, or one for each, as a tensor, as nested lists, or as
            the name of a file that holds it, .npy or .safetensors; in data units. Row i is that of sample i of a seed.
    Raises:
        ValueError: if there is no such observation or file, or y holds no numbers, or bytes.
    """

    def __init__(
        self,
        field: Field,
        observation: Observation | str | Mapping[str, Any],
        observed: Tensor | Sequence | float | str,
    ) -> None:
        super().__init__(field)
        self.observation = observation if isinstance(observation, Observation) else observations.choose(observation)
        self.observed = _as_tensor(observed)
        self._run: Run | None = None
        self._seen: dict[tuple, Tensor] = {}  # in a run: what is asked for at every step
        if self.shape is not None:
            self.observation.check(self.shape)

    def for_run(self, run: Run) -> "Consistent":
        fresh = self.copy_for(run)
        fresh._run, fresh._seen = run, {}
        return fresh

    def seen(self, x: Tensor) -> Tensor:
        """y for the samples of states x, of a shape that broadcasts against A x.

        Raises:
            ValueError: if it is not of the shape of an observation, or there is not one for every sample.
        """
        key = (x.dtype, x.device, x.shape)
        if key not in self._seen:
            observed = self._observed_of(x)
            if self._run is None:  # beyond a run the observation may be replaced
                return observed
            self._seen[key] = observed
        return self._seen[key]

    def _observed_of(self, x: Tensor) -> Tensor:
        observed = self.observed.to(dtype=x.dtype, device=x.device)
        shape = self.observation.observed_shape(x.shape[1:])
        if observed.ndim == 0 or observed.shape == shape:
            return observed
        if observed.shape[1:] != shape:
            raise ValueError(
                f"{self.name} was given an observation of shape {tuple(observed.shape)}, and "
                f"{type(self.observation).__name__.lower()} sees samples of shape {tuple(x.shape[1:])} as {shape}: "
                f"give one such for all samples, or one for each"
            )
        numbers = numbers_of(0 if self._run is None else self._run.first, len(x))
        first, last = int(numbers.min()), int(numbers.max())
        if len(observed) <= last or (self._run is None and len(observed) != len(x)):
            raise ValueError(
                f"{self.name} was given {len(observed)} observations and is to predict samples {first} to {last}: "
                f"give one for every sample, or one for all"
            )
        return observed[numbers.to(x.device)]


class Inverse(Consistent):
    """A rule that adds the gradient of a Gaussian log p(y | data prediction) to the score.

    Args:
        field: The field to guide, with or without conditions.
        observation, observed: What is seen: see :class:`Consistent`.
        w: The weight of the gradient; 0 is the field's own prediction under its condition.

    The Jacobian is exact under ``torch.no_grad`` too, and where gradients are recorded it can be differentiated in
    turn; forward mode, reverse mode and vmap of ``torch.func`` go through it.
    """

    starts_at_reference = False
    conditional_at_1 = False
    affine_in_w = True

    def __init__(
        self,
        field: Field,
        observation: Observation | str | Mapping[str, Any],
        observed: Tensor | Sequence | float | str,
        w: Weight = 1.0,
    ) -> None:
        super().__init__(field, observation, observed)
        self.w = as_weight(w)

    @property
    def t_min(self) -> float:
        # Where alpha = 0 the gradient is 0, and only its quotient by alpha, which a network does not tell, moves data.
        return max(super().t_min, self.path.interval("noise")[0])

    @abstractmethod
    def whiten(self, residual: Tensor, c: Coefficients, shape: tuple[int, ...]) -> Tensor:
        """:math:`C_t^{-1} r` for the residual r, shape (B, *observed), and samples of ``shape``."""

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        w = self.weight(t, x)
        if isinstance(w, float) and w == 0:
            return self.field(x, t, cond)
        prediction, residual, pull = self.look(x, t, cond)
        c = prediction.coefficients
        return prediction.tilted(w * pull(self.whiten(residual, c, tuple(x.shape[1:]))) / c.alpha)

    def weight(self, t: Tensor, x: Tensor) -> float | Tensor:
        """w, a number or of a shape that broadcasts against x."""
        return per_sample(weight_at(self.w, t, x), x.ndim)

    def look(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Tensor, Callable[[Tensor], Tensor]]:
        """The field's prediction; the residual y - A z, (B, *observed); and what turns such into J^T A^T of it."""
        y, shape = self.seen(x), x.shape[1:]

        def estimate(state: Tensor) -> tuple[Tensor, dict[str, Any]]:
            prediction = self.field(state, t, cond)
            return prediction.data, prediction.stated()

        # Of the kernels of attention only the plain one can be differentiated twice.
        kernel = sdpa_kernel(SDPBackend.MATH) if torch.is_grad_enabled() else nullcontext()
        with kernel:
            data, pull, stated = torch.func.vjp(estimate, x, has_aux=True)
        prediction = Prediction(self.path.at(t, x), x, **stated)
        residual = self.observation.residual(y, data)
        return prediction, residual, lambda v: pull(self.observation.transpose(v, shape))[0]


def _as_tensor(observed: Tensor | Sequence | float | str) -> Tensor:
    """An observation as a tensor, read from its file if it is the name of one."""
    if observed is None:
        raise ValueError("there is nothing to be guided by: give observed=..., numbers or a file .npy or .safetensors")
    if isinstance(observed, str):
        observed = _read(Path(observed).expanduser())
    try:
        observed = torch.as_tensor(observed)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"observed must be numbers, and as many in every row, not {observed!r:.80}") from None
    if observed.dtype == torch.uint8:
        raise ValueError(
            "observed is in the data's units, and bytes (uint8) are numbers from 0 to 255: give x / 127.5 - 1 of an "
            "image's bytes"
        )
    return observed


def _read(file: Path) -> Tensor:
    """The tensor in a file; ValueError in a sentence if there is none. No code in it is run."""
    if file.suffix not in (".npy", ".safetensors"):
        raise ValueError(f"observed is read from a file .npy or .safetensors, not from {str(file)!r}")
    if not file.is_file():
        raise ValueError(f"observed names the file {file}, and there is none")
    try:
        if file.suffix == ".npy":
            import numpy

            return torch.from_numpy(numpy.load(file, allow_pickle=False))
        from safetensors.torch import load_file

        tensors = load_file(file)
    except Exception as error:  # each library raises its own
        raise ValueError(f"{file} cannot be read: {error}") from None
    if len(tensors) != 1 and "observed" not in tensors:
        raise ValueError(f"{file} holds {', '.join(sorted(tensors))}: name the observation 'observed'")
    return tensors["observed"] if "observed" in tensors else next(iter(tensors.values()))
