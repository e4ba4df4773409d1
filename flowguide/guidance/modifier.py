"""Rules around a rule: they change what it predicts, or where it acts."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..fields import Field
from ..paths import Prediction
from .base import Guidance, guidance
from .weights import Weight


class Modifier(Guidance):
    """A rule that changes another.

    Args:
        field: A rule, which is changed as it is; or a field, with the rule to be built on it.
        w: The weight of the rule to be built; None for its default.
        rule: The rule to be built on ``field``, by name or as a mapping of its name and options; None for the rule that
            ``field`` is already, or for cfg where a weight is given or ``field`` is no rule.
    Raises:
        ValueError: if the weight is given twice, or whatever the rule refuses.
    """

    field: Guidance

    def __init__(self, field: Field, w: Weight | None = None, rule: str | Mapping[str, Any] | None = None) -> None:
        if rule is not None or w is not None or not isinstance(field, Guidance):
            field = _built(field, w, "cfg" if rule is None else rule)
        super().__init__(field)

    def with_conditional(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        return self(x, t, cond), self.field.with_conditional(x, t, cond)[1]


def _built(field: Field, w: Weight | None, rule: str | Mapping[str, Any]) -> Guidance:
    options = {"name": rule} if isinstance(rule, str) else dict(rule)
    if w is not None and options.get("w") is not None:
        raise ValueError(f"the weight is given twice: w is {w} and the rule {options.get('name')!r} has {options['w']}")
    if w is not None:
        options["w"] = w
    return guidance.build_from(options, field)
