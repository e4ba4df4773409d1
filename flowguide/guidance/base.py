"""What every guidance rule has in common: it is a field made of fields."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..fields import Field
from ..registry import Registry

guidance = Registry("guidance rule", given=("field",))


class Guidance(Field):
    """A field that changes what another field predicts, on the same path and for the same conditions.

    Args:
        field: The field to guide; a rule may be guided in turn.
    """

    def __init__(self, field: Field) -> None:
        super().__init__()
        if not isinstance(field, Field):
            raise ValueError(f"guidance acts on a Field (a NetworkField, a MixtureField, a rule), not on {field!r:.80}")
        self.field = field
        self.path = field.path
        self.num_classes = field.num_classes

    @property
    def t_min(self) -> float:
        return self.field.t_min

    @property
    def t_max(self) -> float:
        return self.field.t_max

    def null(self, batch: int) -> Tensor | None:
        return self.field.null(batch)


def check_weight(w: float | Sequence[float] | Tensor) -> float | Tensor:
    """A guidance weight as a number or as a tensor of one weight per sample; ValueError if it is neither."""
    if not isinstance(w, (int, float)):
        w = torch.as_tensor(w, dtype=None if isinstance(w, Tensor) else torch.get_default_dtype())
        if w.ndim == 1 and len(w):
            if not w.isfinite().all():
                raise ValueError(f"every guidance weight must be finite, not {w.tolist()}")
            return w
        if w.ndim:
            raise ValueError(f"w must be a number or one weight per sample, shape (B,), not of shape {tuple(w.shape)}")
        w = w.item()
    if not math.isfinite(w):
        raise ValueError(f"w must be a finite number (0 is unconditional, 1 is conditional), not {w}")
    return float(w)
