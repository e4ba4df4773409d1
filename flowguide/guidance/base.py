"""What every guidance rule has in common: it is a field made of fields."""

import copy
from typing import Any, Self

from torch import Tensor

from ..fields import Field, Run
from ..paths import Kind, Prediction
from ..registry import Registry
from .weights import Choose, of_rows, of_run, with_rows

guidance = Registry("guidance rule", given=("field",))


class Guidance(Field):
    """A field that changes what another field predicts, on the same path and for the same conditions.

    Args:
        field: The field to guide; a rule may be guided in turn.

    Attributes:
        space: The kind of prediction in which the rule acts; None if it does the same in all.
        independent: Whether a sample is the same whatever others are drawn with it.
        starts_at_reference: Whether w = 0 gives what it guides away from, the unconditional prediction for most.
        conditional_at_1: Whether w = 1 gives the conditional prediction.
        affine_in_w: Whether the prediction is a + b w at every (x, t, cond).
        by_sample: The attributes of which there may be one per sample.

    Of these, ``starts_at_reference``, ``conditional_at_1`` and ``affine_in_w`` are claims that the tests hold every
    registered rule to; None claims nothing.
    """

    space: Kind | None = None
    independent: bool = True
    starts_at_reference: bool | None = None
    conditional_at_1: bool | None = None
    affine_in_w: bool | None = None
    by_sample: tuple[str, ...] = ("w",)

    def __init__(self, field: Field) -> None:
        super().__init__()
        if not isinstance(field, Field):
            raise ValueError(f"guidance acts on a Field (a NetworkField, a MixtureField, a rule), not on {field!r:.80}")
        self.field = field
        self.path = field.path
        self.num_classes = field.num_classes
        self.needs_condition = field.needs_condition
        self.shape = field.shape

    @property
    def name(self) -> str:
        """The name that it is registered under, or that of its class."""
        return next((name for name in guidance.names() if guidance.get(name) is type(self)), type(self).__name__)

    @property
    def plain(self) -> Field:
        """The field beneath all rules."""
        return self.field.plain if isinstance(self.field, Guidance) else self.field

    # A change of the data prediction alone is an infinite one of the noise where sigma = 0, and so on: where the rule
    # acts in such a kind, those ends are left out, as for a network that predicts it.
    @property
    def t_min(self) -> float:
        return max(self.field.t_min, self.path.interval(self.space)[0]) if self.space else self.field.t_min

    @property
    def t_max(self) -> float:
        return min(self.field.t_max, self.path.interval(self.space)[1]) if self.space else self.field.t_max

    def null(self, batch: int) -> Tensor | None:
        return self.field.null(batch)

    def conditions(self, given: Any = None, num: int = 1, num_classes: int | None = None) -> Tensor | None:
        return self.field.conditions(given, num, self.num_classes if num_classes is None else num_classes)

    # What the fields within need of a run, the rule needs: see fields/run.py.
    @property
    def between_steps(self) -> bool:
        return any(field.between_steps for field in self.parts().values())

    @property
    def draws(self) -> bool:
        return any(field.draws for field in self.parts().values())

    def parts(self) -> dict[str, Field]:
        """The fields that the rule is made of, by the names of their attributes."""
        return {name: part for name, part in self.named_children() if isinstance(part, Field)}

    @property
    def power(self) -> float | None:
        return None

    def power_of(self, w: Any) -> float | None:
        """w times the power of the field, as a rule has that mixes its scores; None if that is no one number."""
        return w * self.field.power if isinstance(w, float) and self.field.power is not None else None

    def for_run(self, run: Run) -> "Guidance":
        return self._renewed({name: part.for_run(run) for name, part in self.parts().items()}, of_run(run))

    def for_rows(self, rows: slice, total: int) -> "Guidance":
        parts = {name: part.for_rows(rows, total) for name, part in self.parts().items()}
        return self._renewed(parts, of_rows(rows, total))

    def _renewed(self, parts: dict[str, Field], choose: Choose) -> Self:
        """The rule made of other fields, and of rows of what it holds per sample; itself if nothing is another."""
        held = {name: with_rows(name, vars(self)[name], choose) for name in self.by_sample if name in vars(self)}
        if all(new is getattr(self, name) for name, new in {**parts, **held}.items()):
            return self
        fresh = self.with_parts(parts)
        vars(fresh).update(held)
        return fresh

    def copy_for(self, run: Run) -> Self:
        """A copy of the rule for a run, to be given a state of its own: for those that override :meth:`for_run`."""
        fresh = Guidance.for_run(self, run)
        return self.with_parts({}) if fresh is self else fresh

    def with_parts(self, parts: dict[str, Field]) -> Self:
        """A copy of the rule that is made of other fields, and shares all else."""
        fresh = copy.copy(self)
        fresh.__dict__["_modules"] = {**self._modules, **parts}
        return fresh

    def after_step(self, x: Tensor, step: int) -> Tensor:
        for part in self.parts().values():
            if part.between_steps:
                x = part.after_step(x, step)
        return x

    def check_condition(self, cond: Tensor | None, batch: int) -> None:
        self.field.check_condition(cond, batch)

    def with_conditional(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        """The guided prediction, and the conditional one of the field that is guided, for rules around this one.

        A rule that has computed the second on the way to the first overrides this, and saves an evaluation.
        """
        return self(x, t, cond), self.field(x, t, cond)
