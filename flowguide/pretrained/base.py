"""What a published file comes to: components by their names, and the tensors of the network under its own names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .. import networks, paths
from ..fields import NetworkField, NetworkPosterior
from ..paths import Output
from ..registry import Registry

formats = Registry("format of published models", given=("tensors", "config"))


@dataclass(frozen=True)
class Imported:
    """A published model, described.

    Attributes:
        network, path: Nodes: ``{"name": ..., options}``.
        tensors: Of the network, by its own names.
        predicts: What its output means; a classifier of noisy states predicts nothing.
        sigma_data: If it predicts edm, the standard deviation of its data.
        clock: What it is told of the time (:class:`.NetworkField`).
        shown: For a classifier, what it is shown of the state (:class:`.NetworkPosterior`).
        shape: Of one sample; None if the file does not tell.
        conditioner: Node of what it is told of a sample, if that is not its label.
    """

    network: Mapping[str, Any]
    path: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    predicts: Output = "noise"
    sigma_data: float | None = None
    clock: Literal["timestep", "edm"] | None = None
    shown: Literal["guess", "state"] = "guess"
    shape: tuple[int, ...] | None = None
    conditioner: Mapping[str, Any] | None = None

    @property
    def classifies(self) -> bool:
        """Whether it is a classifier of noisy states."""
        component = networks.registry.get(self.network["name"])
        return isinstance(component, type) and issubclass(component, networks.NoisyClassifier)

    def build(self) -> NetworkField | NetworkPosterior:
        """The model, in evaluation mode and without gradients.

        Its weights lie in memory as they were published, for then its numbers are those of the original to the last
        digits; ``to(memory_format=torch.channels_last)`` is faster, and rounds some five times as much.
        """
        network = networks.registry.build_from(self.network)
        network.load_state_dict(dict(self.tensors))
        network.to(memory_format=torch.contiguous_format)
        path = paths.registry.build_from(self.path)
        if self.classifies:
            model: NetworkField | NetworkPosterior = NetworkPosterior(network, path, self.shown, clock=self.clock)
        else:
            model = NetworkField(network, path, self.predicts, self.sigma_data, clock=self.clock)
            model.shape = self.shape
        return model.eval().requires_grad_(False)


@dataclass(frozen=True)
class Place:
    """Where a tensor of ours is in a file.

    Attributes:
        name: Its name there; or several, of tensors of as many rows each that come one below another here.
        start, stop: Its rows there.
        transposed: Whether it is transposed there.
        flat: Whether it is a matrix here, and a convolution of patches as large as their distance there.
        change: What makes ours of it, if its numbers are in another order there.
    """

    name: str | tuple[str, ...]
    start: int | None = None
    stop: int | None = None
    transposed: bool = False
    flat: bool = False
    change: Callable[[Tensor], Tensor] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its name, or all of them."""
        return (self.name,) if isinstance(self.name, str) else self.name


def take(tensors: Mapping[str, Tensor], network: nn.Module, places: Mapping[str, Place]) -> dict[str, Tensor]:
    """The tensors of ``network``, each from its place in a file.

    A 1x1 convolution, one over a row of pixels and a matrix are the same numbers, and go for each other.

    Raises:
        ValueError: naming the first tensor that is missing, is left over or has another shape.
    """
    taken = {}
    for name, ours in network.state_dict().items():
        place = places[name]
        shares = ours.chunk(len(place.names))
        parts = [_part(tensors, place, theirs, share) for theirs, share in zip(place.names, shares, strict=True)]
        taken[name] = parts[0] if len(parts) == 1 else torch.cat(parts)
    used = {name for place in places.values() for name in place.names}
    for name in tensors:
        if name not in used:
            raise ValueError(f"{name} is in the file, and this architecture has no use for it")
    return taken


def _part(tensors: Mapping[str, Tensor], place: Place, name: str, ours: Tensor) -> Tensor:
    """The numbers of ``ours``, from the tensor called ``name``."""
    if name not in tensors:
        raise ValueError(f"{name} is missing, {' x '.join(map(str, ours.shape))} numbers of this architecture")
    theirs = tensors[name]
    if (place.start, place.stop) != (None, None):  # a single number has no rows
        theirs = theirs[place.start : place.stop]
    theirs = theirs.mT if place.transposed else theirs
    theirs = theirs.flatten(1) if place.flat and theirs.ndim > 1 else theirs
    if _without_ones(theirs) != _without_ones(ours):
        raise ValueError(
            f"{name} has the shape {tuple(tensors[name].shape)}, and this architecture needs {tuple(ours.shape)}"
        )
    theirs = theirs if place.change is None else place.change(theirs)
    return theirs.reshape(ours.shape).to(ours.dtype)


def _without_ones(tensor: Tensor) -> tuple[int, ...]:
    """The shape, but for trailing ones beyond the first two."""
    shape = tuple(tensor.shape)
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
