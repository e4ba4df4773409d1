"""What a Gaussian mixture computes with: its parameters, checked and factorised once, in float64."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Parts(NamedTuple):
    """What a mixture computes with, in one dtype on one device."""

    log_weights: Tensor  # (num_classes + 1, K): log p(k | y) for every label, and in the last row for no label
    means: Tensor  # (K, D)
    eigenvalues: Tensor  # (K, D)
    eigenvectors: Tensor  # (K, D, D), in columns


def parts_of(
    weights: Tensor | Sequence,
    means: Tensor | Sequence,
    covariances: Tensor | Sequence,
    labels: Tensor | Sequence | None,
) -> tuple[Parts, Tensor]:
    """The parts in float64, and the labels, int64, shape (K,), of the parameters of a mixture.

    Raises:
        ValueError: if shapes disagree, a number is not finite, or a weight or covariance is not positive.
    """
    named = {"weights": weights, "means": means, "covariances": covariances}
    weights, means, covariances = (_numbers(name, each) for name, each in named.items())
    if means.ndim != 2 or not means.numel():
        raise ValueError(f"means must have shape (K, D), with K and D at least 1, not {tuple(means.shape)}")
    labels = torch.arange(len(means), device=means.device) if labels is None else _numbers("labels", labels)
    components, dim = means.shape
    expected = {"weights": (components,), "covariances": (components, dim, dim), "labels": (components,)}
    for name, given in (("weights", weights), ("covariances", covariances), ("labels", labels)):
        if tuple(given.shape) != expected[name]:
            raise ValueError(
                f"{name} must have shape {expected[name]} to go with means of shape {(components, dim)}, "
                f"not {tuple(given.shape)}"
            )
    if not (weights > 0).all():
        raise ValueError(f"weights must be positive, not {weights.tolist()}")
    if labels.dtype not in (torch.int64, torch.int32) or int(labels.min()) < 0:
        raise ValueError(f"labels must be integers from 0, not {labels.tolist()}")
    eigenvalues, eigenvectors = torch.linalg.eigh(covariances.double())
    if not (eigenvalues > 0).all() or not torch.allclose(covariances, covariances.mT):
        raise ValueError("covariances must be symmetric and positive definite")

    num_classes = int(labels.max()) + 1
    of_label = labels == torch.arange(num_classes, device=labels.device)[:, None]
    if not of_label.any(1).all():
        raise ValueError(f"every label from 0 to {num_classes - 1} needs a component: got {labels.tolist()}")
    log_weights = torch.log(weights.double() / weights.double().sum())
    rows = torch.where(of_label, log_weights, -math.inf)
    rows = torch.cat([rows - rows.logsumexp(1, keepdim=True), log_weights[None]])
    return Parts(rows, means.double(), eigenvalues, eigenvectors), labels.long()


def _numbers(name: str, given: Tensor | Sequence) -> Tensor:
    """A parameter of a mixture as a tensor, in float64 if it is none yet; ValueError unless it is of finite numbers."""
    try:
        exact = torch.float64 if name != "labels" else None
        tensor = given if isinstance(given, Tensor) else torch.as_tensor(given, dtype=exact)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} must be numbers, and as many in every row, not {given!r:.80}") from None
    if not tensor.isfinite().all():
        raise ValueError(f"{name} must be finite, not {tensor.tolist()!r:.80}")
    return tensor
