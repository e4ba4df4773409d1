"""From a configuration to components: the one place where a recipe's nodes become objects."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from .. import data, networks, paths
from ..fields import NetworkField, NetworkPosterior
from . import checkpoint
from .config import TrainConfig
from .run_folder import RunFolder


def device_of(name: str) -> torch.device:
    """The torch device called ``name``; "auto" is the GPU if there is one. ValueError if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ValueError(f"there is no device {name!r} here; try device=auto or device=cpu") from None
    return device


def build_dataset(config: TrainConfig, split: data.Split) -> data.Samples:
    """The data set that a configuration names."""
    return data.registry.build_from(config.data, split=split)


def with_data_options(config: TrainConfig, dataset: data.Samples) -> TrainConfig:
    """The configuration with what follows from the data filled in: the shape of a sample, and network options."""
    component = networks.registry.get(config.network.get("name"))
    options_for = getattr(component, "options_for", networks.Network.options_for)
    follow = options_for(dataset.shape, dataset.num_classes)
    missing = {name: value for name, value in follow.items() if config.network.get(name) is None}
    return replace(config, network={**config.network, **missing}, shape=list(dataset.shape))


def build_model(config: TrainConfig) -> nn.Module:
    """The model that a configuration describes, with new weights.

    Returns:
        A network with its path: a NetworkField, or a NetworkPosterior if it classifies noisy states; without a path,
        a bare network.
    Raises:
        ValueError: if network and path do not go together.
    """
    network = networks.registry.build_from(config.network)
    noisy = isinstance(network, networks.NoisyClassifier)
    if config.path is None:
        if noisy:
            raise ValueError(
                f"{type(network).__name__} classifies noisy states: it needs the path whose states they are, path=..."
            )
        return network
    path = paths.registry.build_from(config.path)
    if noisy:
        return NetworkPosterior(network, path, config.shown or "guess", clock=config.clock)
    field = NetworkField(network, path, config.predicts, config.sigma_data, clock=config.clock)
    field.shape = None if config.shape is None else tuple(config.shape)
    return field


def load(path: str | Path, ema: bool = True, device: torch.device | str = "auto") -> nn.Module:
    """A trained model, ready to sample from.

    Args:
        path: A run folder (its newest checkpoint is taken) or a checkpoint file.
        ema: Take the averaged weights; otherwise those of the last step.
        device: Where to put it; "auto" is the GPU if there is one.
    Returns:
        The NetworkField (or NetworkPosterior, or bare classifier) in evaluation mode, without gradients; its ``config``
        is the TrainConfig.
    Raises:
        ValueError: if there is no such run, or its checkpoint is damaged, foreign, or of an unknown component.
    """
    file = Path(path)
    if not file.is_file():
        folder = RunFolder(file)
        folder.config()
        newest = folder.newest()
        if newest is None:
            raise ValueError(f"{path} holds no checkpoint yet; train it first, or further")
        file = newest
    settings = checkpoint.read_meta(file)["config"]
    try:
        config = TrainConfig.of(settings)
        if config.shape is None:
            raise ValueError("its configuration has no shape, which training fills in from the data")
        model = build_model(config)
    except ValueError as error:
        imports = settings.get("imports")
        hint = f"; its recipe imports {', '.join(imports)}: import that first (imports={imports})" if imports else ""
        raise ValueError(f"{file} cannot be built: {error}{hint}") from None
    restore(model, checkpoint.read_tensors(file, "ema." if ema else "model."), file)
    model.config = config
    return model.to(device_of(str(device))).eval().requires_grad_(False)


def load_generative(path: str | Path, ema: bool = True, device: torch.device | str = "auto") -> NetworkField:
    """As :func:`load`; ValueError if the run is a classifier's."""
    model = load(path, ema, device)
    if not isinstance(model, NetworkField):
        raise ValueError(f"{path} holds a classifier, and only a generative model can be sampled")
    return model


def restore(model: nn.Module, tensors: Mapping[str, torch.Tensor], file: Path) -> None:
    """Put ``tensors`` into the model; ValueError naming the first that does not fit."""
    state = model.state_dict()
    for name in [*state, *tensors]:
        ours, theirs = (tuple(t[name].shape) if name in t else "absent" for t in (state, tensors))
        if ours != theirs:
            raise ValueError(f"{file} does not fit its own configuration: {name} is {theirs} there and {ours} here")
    model.load_state_dict(tensors)
