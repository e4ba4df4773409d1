r"""Posterior: whatever knows the labels of noisy states, as classifier guidance needs it.

.. math:: \log p_t(y \mid x), \qquad g = \frac{1}{\alpha_t} \nabla_x \log p_t(y \mid x).

The gradient is given divided by alpha. A state depends on the data through :math:`\alpha_t z`, so that the gradient
falls with alpha to zero, where the state says nothing of the label any more; but the quotient does not, and it is what
tells data and velocity of the label: :math:`E[z \mid x, y] = E[z \mid x] + \sigma_t^2 g` (:meth:`.Prediction.tilted`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..paths import Coefficients, Path
from .arguments import check_rows, check_states, time_of
from .base import check_labels


class Posterior(nn.Module, ABC):
    """A classifier of the noisy states of a path: log p_t(y | x), and its gradient.

    Attributes:
        path: The path whose states it classifies.
        num_classes: Number of labels. The label ``num_classes`` means "no label": its probability is 1.
    """

    path: Path
    num_classes: int

    @property
    def t_min(self) -> float:
        """The first time at which it has a gradient over alpha: not where alpha = 0, unless it knows the limit."""
        return self.path.interval("score")[0]

    @property
    def t_max(self) -> float:
        return self.path.t_max

    def scale(self, coefficients: Coefficients) -> tuple[Tensor | float, Tensor | float]:
        """(s, s / alpha), where s scales the state for :meth:`log_probs`; the second finite wherever it can be used."""
        return 1.0, 1 / coefficients.alpha

    @abstractmethod
    def log_probs(self, scaled: Tensor, t: Tensor) -> Tensor:
        """log p_t(y | x) of every label, shape (B, num_classes), at ``scaled`` = s x, shape (B, *); t is () or (B,)."""

    def forward(self, x: Tensor, t: Tensor | float) -> Tensor:
        """log p_t(y | x) of every label.

        Args:
            x: States, shape (B, *).
            t: Time, a number or a tensor of shape () or (B,).
        Returns:
            Shape (B, num_classes), in nats.
        """
        check_states(x)
        t = time_of(t, x)
        return self.log_probs(self.scale(self.path.at(t, x))[0] * x, t)

    def log_prob(self, x: Tensor, t: Tensor | float, labels: Tensor) -> Tensor:
        """log p_t(label | x), shape (B,), for labels of shape (B,).

        Raises:
            ValueError: if there is not one label per sample, or one is not one of the classes.
        """
        return self._of(labels, self(x, t))

    def gradient(self, x: Tensor, t: Tensor | float, labels: Tensor) -> Tensor:
        """The gradient of :meth:`log_prob` in x, divided by alpha, shape (B, *).

        It is computed in float32 at least, under autocast too, whether or not gradients are recorded around it; where
        they are, it can be differentiated in turn.

        Raises:
            ValueError: if there is not one label per sample, or one is not one of the classes.
        """
        check_states(x)
        dtype = torch.promote_types(x.dtype, torch.float32)
        state = x.to(dtype)
        t = time_of(t, state)
        s, s_over_alpha = self.scale(self.path.at(t, x))
        slope = self._slope(lambda scaled: self._of(labels, self.log_probs(scaled, t)), s * state)
        return (s_over_alpha * slope).to(x.dtype)

    def _of(self, labels: Tensor, log_probs: Tensor) -> Tensor:
        check_rows(labels, len(log_probs))
        try:
            return functional.pad(log_probs, (0, 1)).gather(1, labels.long()[:, None])[:, 0]
        except (IndexError, RuntimeError):
            check_labels(labels, self.num_classes)
            raise

    def _slope(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        record = torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in self.parameters()))
        # Of the kernels of attention only the plain one can be differentiated twice.
        kernel = sdpa_kernel(SDPBackend.MATH) if record else nullcontext()
        with torch.enable_grad(), torch.autocast(x.device.type, enabled=False), kernel:
            x = x if x.requires_grad else x.detach().requires_grad_()
            return torch.autograd.grad(function(x).sum(), x, create_graph=record)[0]
