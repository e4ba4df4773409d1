"""Conditions as options of a rule: for all samples or one for each, as tensors or in a user's words."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..fields import Field
from ..fields.base import check_labels

# One condition: a label, by number or by name; a caption; attributes by name; or a tensor.
Condition: TypeAlias = int | str | Mapping[str, Any] | Tensor


def condition_of(field: Field, given: Condition | Sequence[Condition]) -> Tensor:
    """Conditions that a rule was given, as the field takes them.

    Args:
        field: Takes conditions; words are known to the model of a run alone.
        given: One condition, or a list or tensor of them.
    Returns:
        One row, of the shape of the field's null condition of one sample, () for labels; or several such rows.
    Raises:
        ValueError: if the field does not take them.
    """
    tensor = _tensor(field, given)
    if field.num_classes is not None:
        check_labels(tensor.reshape(1) if tensor.ndim == 0 else tensor, field.num_classes)
        return tensor
    row = row_of(field)
    if row not in (tensor.shape, tensor.shape[1:]):
        shown = f"the label {given}" if isinstance(given, int) else f"a tensor of shape {tuple(tensor.shape)}"
        raise ValueError(
            f"this field takes conditions of shape {row}, one for all samples or one for each, and was given {shown}"
        )
    return tensor


def row_of(field: Field) -> tuple[int, ...]:
    """The shape of one condition of a field: () for labels, which alone have no null one, if there is none."""
    null = field.null(1)
    return () if null is None else tuple(null.shape[1:])


def _tensor(field: Field, given: Condition | Sequence[Condition]) -> Tensor:
    if isinstance(given, (int, Tensor)):
        return torch.as_tensor(given)
    if isinstance(given, (str, Mapping)):
        return field.conditions(given, 1)[0]
    if all(isinstance(each, (int, Tensor)) for each in given):
        return torch.stack([torch.as_tensor(each) for each in given])
    return field.conditions(list(given), len(given))
