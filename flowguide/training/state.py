"""Everything that a run needs to go on: the weights, their averages, and what the optimizers remember."""

from pathlib import Path

import torch
from torch import Tensor, nn

from . import checkpoint
from .assemble import restore
from .averages import Averages
from .optimizers import Optimizers


def state(model: nn.Module, averages: Averages, optimizers: Optimizers) -> dict[str, Tensor]:
    """It all as one flat dictionary of tensors; shares of them where the model is sharded."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for prefix, average in averages.models.items():
        tensors |= {prefix + name: tensor for name, tensor in average.state_dict().items()}
    return tensors | {f"optimizer.{key}": moment for key, moment in optimizers.moments().items()}


@torch.no_grad()
def put_back(path: Path, model: nn.Module, averages: Averages, optimizers: Optimizers, strict: bool = True) -> None:
    """Restore it from a checkpoint.

    Args:
        path: Of the checkpoint.
        model, averages, optimizers: Filled in place; sharded or not, whatever the ones were that wrote it.
        strict: Whether all has to fit. Otherwise what does not is left as it is, new; and of an average that was not
            kept so far, the weights are taken.
    Raises:
        ValueError: naming the first tensor that does not fit, if ``strict``.
    """
    weights = checkpoint.read_tensors(path, "model.")
    restore(model, weights, path, strict)
    for prefix, average in averages.models.items():
        if not strict:
            restore(average, weights, path, strict)
        restore(average, checkpoint.read_tensors(path, prefix), path, strict)
    optimizers.put_back(checkpoint.read_tensors(path, "optimizer."))
