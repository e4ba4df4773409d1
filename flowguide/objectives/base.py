"""What every objective has in common: the call ``objective(model, data=, cond=)`` gives a scalar to minimise."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from ..fields import Field
from ..fields.arguments import check_rows, check_states
from ..networks.precision import of_another_type
from ..registry import Registry

objectives = Registry("objective")


class Objective(ABC):
    """A function of (model, data, cond) whose mean over the batch training minimises.

    Attributes:
        trains: What the model must be.
        report: Named numbers about the last batch, for the log beside the loss: tensors of shape (), NaN where there is
            nothing to tell. Empty unless an objective has some.
        takes_source: Whether it can learn from samples of a source law in place of Gaussian noise; ``losses`` then
            takes them as a last argument.
    """

    trains: type[nn.Module] = Field
    report: Mapping[str, Tensor] = MappingProxyType({})
    takes_source: bool = False

    @abstractmethod
    def losses(self, model: nn.Module, data: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """One loss per sample, shape (B,)."""

    def check_source(self, data: Tensor, source: Tensor) -> None:
        """ValueError unless ``source`` can take the place of noise for ``data``."""
        if not self.takes_source:
            raise ValueError(
                f"{type(self).__name__} takes no source: only the velocity has a meaning on the way from one data set "
                f"to another, so learn it with the objective 'cfm'"
            )
        if source.shape != data.shape:
            raise ValueError(
                f"source must have the shape of data, {tuple(data.shape)}, a source sample for each data sample, not "
                f"{tuple(source.shape)}"
            )

    def __call__(
        self,
        model: nn.Module,
        *,
        data: Tensor,
        cond: Tensor | None = None,
        source: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The mean loss of a batch, shape ().

        Args:
            model: What is trained: a Field, a Posterior, a classifier of clean data, or an autoencoder.
            data: Shape (B, *).
            cond: Conditions, one per sample; None if there are none.
            source: Samples of the law that the flow is to start from, shape (B, *); None for Gaussian noise.
            generator: Of all randomness, on data's device; torch's global one if None.
        Raises:
            ValueError: if the model is not of the kind that is trained, data are not floating-point numbers or not of
                the model's type, or conditions or source do not fit the data.
        """
        if not isinstance(model, self.trains):
            article = "an" if self.trains.__name__[0] in "AEIOU" else "a"
            raise ValueError(
                f"{type(self).__name__} trains {article} {self.trains.__name__}, not a {type(model).__name__}"
            )
        check_states(data, "data")
        if cond is not None:
            check_rows(cond, len(data))
        if source is not None:
            self.check_source(data, source)
        try:
            return self.losses(model, data, cond, generator, *(() if source is None else (source,))).mean()
        except RuntimeError as error:
            if sentence := of_another_type(model, error, data=data, cond=cond):
                raise ValueError(sentence) from None
            raise
