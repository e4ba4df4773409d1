r"""Field: whatever predicts.

.. math:: \text{prediction} = \text{field}(x, t, \text{cond})

A network on its path is a field, an exact mixture is a field, a guidance rule takes fields and is a field. Solvers,
likelihoods and diagnostics take a field and know nothing else.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ..networks import Encoded
from ..networks.conditioning import unknown_label
from ..paths import Path, Prediction
from .arguments import check_rows, check_states, time_of
from .run import Run

NO_NULL = "this field takes conditions and has no null one"


class Field(nn.Module, ABC):
    """A function of (x, t, cond) that predicts data, noise, velocity and score at once.

    Attributes:
        path: The probability path whose states it takes.
        num_classes: Number of labels it can be conditioned on; None if it is unconditional or conditioned otherwise.
        needs_condition: Whether it takes conditions and has none that means "none given", so that :meth:`null` is None.
        shape: Of one state, without the batch; None if it is not known.
        t_min, t_max: The times at which it can be evaluated: the path's, unless its kind of prediction leaves one out.
        between_steps: Whether it acts between the steps of a solver (:meth:`after_step`).
        draws: Whether it draws random numbers, and so needs the seed of the run.
    """

    path: Path
    num_classes: int | None = None
    needs_condition: bool = False
    shape: tuple[int, ...] | None = None
    between_steps: bool = False
    draws: bool = False

    @property
    def t_min(self) -> float:
        return self.path.t_min

    @property
    def t_max(self) -> float:
        return self.path.t_max

    @abstractmethod
    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        """Evaluate at ``x`` (B, *), ``t`` () or (B,) of x's dtype and device, ``cond`` (B, ...) or None."""

    @abstractmethod
    def null(self, batch: int) -> Tensor | None:
        """The condition that means "none given", one row per sample; None if the field takes no conditions."""

    def forward(self, x: Tensor, t: Tensor | float, cond: Tensor | None = None) -> Prediction:
        """Predict at ``x``, time ``t``, under ``cond``.

        Args:
            x: States, shape (B, *).
            t: Time, a number or a tensor of shape () or (B,); 0 = noise, 1 = data.
            cond: Conditions, one per sample (labels: int64, shape (B,)); None is unconditional.
        Raises:
            ValueError: if states are not floating-point numbers of that shape, time is neither one nor one per sample,
                or a number outside [0, 1], or there is not one condition per sample.
        """
        check_states(x)
        if cond is not None and not isinstance(cond, Encoded):
            check_rows(cond, len(x))
        return self.predict(x, time_of(t, x), cond)

    def for_run(self, run: Run) -> "Field":
        """The field that a run of a solver evaluates: itself, or a fresh copy with the state of this run."""
        return self

    def for_rows(self, rows: slice, total: int) -> "Field":
        """The field for some rows of a batch of ``total``: itself, or a copy with those of what it holds for each."""
        return self

    def after_step(self, x: Tensor, step: int) -> Tensor:
        """The states to go on with after ``step`` steps, shape (B, *); asked for if ``between_steps``."""
        return x

    def encode(self, cond: Tensor | Encoded | None, batch: int) -> Tensor | Encoded | None:
        """The conditions as :meth:`predict` may have them in place of ``cond``, with the null condition for None.

        In a run, the part of a network that depends on them alone may be done already.
        """
        return self.null(batch) if cond is None else cond

    @property
    def takes_conditions(self) -> bool:
        """Whether it can be asked under conditions."""
        return self.needs_condition or self.null(1) is not None

    @property
    def power(self) -> float | None:
        """w, if what it predicts under y is meant to be the score of p(x) p(y | x)^w; None if no one number is.

        A rule that means to sample such a density states it, and diagnostics hold it to that.
        """
        return 1.0

    def conditions(self, given: Any = None, num: int = 1, num_classes: int | None = None) -> Tensor | None:
        """Conditions from a user's words, for the model of a run: ``model.conditions("a red letter B", num=4)``.

        Args:
            given: One thing for all samples: a label, the name of a class, a caption, attributes by name, whatever the
                model was told of a sample; a list with one for each; or None for all in turn.
            num: How many samples.
            num_classes: Of the field that is to be sampled, if a rule has other labels than the field in it.
        Returns:
            One row per sample, shape (num, ...), on the CPU; None if the model takes no conditions.
        Raises:
            ValueError: if it is nothing that the model was told, or this field is none of a run.
        """
        raise ValueError(
            f"what {given!r} means as a condition is known to the model of a run (fg.load), and this field is none: "
            f"give tensors"
        )

    def null_of(self, cond: Tensor) -> Tensor | None:
        """``cond`` with what guidance acts on made null: the null condition, with an image beside it kept."""
        return self.null(len(cond))

    def drop(self, cond: Tensor, mask: Tensor) -> Tensor:
        """``cond`` with the samples in ``mask``, shape (B,), made unconditional: per sample, never per batch."""
        null = self.null_of(cond)
        if null is None and self.needs_condition:
            raise ValueError(f"{NO_NULL}, so no label can be dropped: train with label_dropout=0")
        if null is None:
            raise ValueError("this field takes no conditions, so there is no label to drop")
        return torch.where(mask.reshape(-1, *[1] * (cond.ndim - 1)), null.to(cond), cond)

    def check_condition(self, cond: Tensor | None, batch: int) -> None:
        """Refuse conditions that do not fit, once per run (it reads the labels, which on a GPU is a wait)."""
        if cond is None:
            if self.needs_condition:
                raise ValueError(f"{NO_NULL}, so it predicts nothing without one: pass cond, one per sample")
            return
        if not self.takes_conditions:
            raise ValueError("this field takes no conditions; pass cond=None")
        check_rows(cond, batch)
        if self.num_classes is not None:
            check_labels(cond, self.num_classes, null=not self.needs_condition)


def check_labels(labels: Tensor, num_classes: int, null: bool = True) -> None:
    """ValueError unless ``labels`` are integers in [0, num_classes]; num_classes itself is the null label, if any."""
    if labels.dtype not in (torch.int64, torch.int32) or labels.ndim != 1:
        raise ValueError(
            f"labels must be integers of shape (B,), not {str(labels.dtype).removeprefix('torch.')} of shape "
            f"{tuple(labels.shape)}"
        )
    if sentence := unknown_label(labels, num_classes, null):
        raise ValueError(sentence)
