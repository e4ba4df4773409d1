"""From a configuration to components: the one place where a recipe's nodes become objects."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import conditioners, data, networks, paths
from ..devices import device_of
from ..fields import Field, Given, LatentField, NetworkField, NetworkPosterior
from ..fields.network_field import Told
from . import checkpoint
from .averaging import averaged
from .conditions import Asking
from .config import TrainConfig
from .decoding import decoder_of
from .held_out import held_out_images
from .run_folder import RunFolder
from .sharded import filled


def build_dataset(config: TrainConfig, split: data.Split) -> data.Samples:
    """The data set that a configuration names."""
    return data.registry.build_from(config.data, split=split)


def build_conditioner(config: TrainConfig) -> conditioners.Conditioner:
    """What the network of a configuration is told of a sample: its label, if nothing else is named."""
    return conditioners.registry.build_from(config.conditioner or {"name": "label"})


def with_data_options(
    config: TrainConfig, dataset: data.Samples, conditioner: conditioners.Conditioner | None = None
) -> TrainConfig:
    """The configuration with what follows from the data filled in: shape, samples, network options, the data's own.

    Args:
        config: Of the run.
        dataset: Its data set.
        conditioner: Its conditioner, if it is built already.
    """
    component = networks.registry.get(config.network.get("name"))
    options_for = getattr(component, "options_for", networks.Network.options_for)
    told = (conditioner or build_conditioner(config)).options(dataset)
    _check_told(config, told)
    given, classes = config.network.get("num_classes"), told.get("num_classes")
    if isinstance(given, int) and classes is not None and given < classes:
        raise ValueError(f"network.num_classes={given}, and {dataset.name} has {classes} classes: leave it out")
    follow = {**options_for(dataset.shape, told.pop("num_classes", None)), **told}
    missing = {name: value for name, value in follow.items() if config.network.get(name) is None or name in told}
    named = {"network": {**config.network, **missing}, "data": {**config.data, **dataset.follows}}
    return replace(config, **named, shape=list(dataset.shape), samples=dataset.outline)


def _check_told(config: TrainConfig, told: Mapping[str, Any]) -> None:
    """ValueError unless the network takes what the conditioner tells; ``told`` are the options that follow from it."""
    name = config.network.get("name")
    if config.conditioner is None or name not in networks.names():
        return
    for option, value in told.items():
        given = config.network.get(option)
        if option not in networks.registry.options(name):
            have = [each for each in networks.names() if set(told) <= set(networks.registry.options(each))]
            raise ValueError(
                f"the conditioner {config.conditioner['name']!r} needs a network with the option {option}, which "
                f"{name!r} has not; {', '.join(have)} have it"
            )
        if given is not None and given not in (value, networks.registry.defaults(name)[option]):
            raise ValueError(
                f"the conditioner {config.conditioner['name']!r} makes network.{option}={value}, not {given}: leave it "
                f"out"
            )


# A label that is never dropped leaves the null one untrained, and one that always is all others.
_TOLD: dict[Any, Told] = {0: "always", 1: "never"}


def build_model(config: TrainConfig) -> nn.Module:
    """The model that a configuration describes, with new weights.

    Returns:
        A network with its path: a NetworkField (a LatentField, if its data are latents of images), or a
        NetworkPosterior if it classifies noisy states; without a path, a bare network.
    Raises:
        ValueError: if network and path do not go together, or a setting means nothing for them.
    """
    network = networks.registry.build_from(config.network)
    noisy = isinstance(network, networks.NoisyClassifier)
    _check_meant(config, network, noisy)
    if config.path is None:
        if noisy:
            raise ValueError(
                f"{type(network).__name__} classifies noisy states: it needs the path whose states they are, path=..."
            )
        if isinstance(network, networks.Autoencoder) and config.shape is not None:
            network.latent_shape(config.shape)
        return network
    path = paths.registry.build_from(config.path)
    if noisy:
        return NetworkPosterior(network, path, config.shown or "guess", clock=config.clock)
    decoder = decoder_of(config)
    kind, options = (NetworkField, {}) if decoder is None else (LatentField, {"decoder": decoder})
    told = _TOLD.get(config.objective.get("label_dropout"), "sometimes")
    field = kind(network, path, config.predicts, config.sigma_data, clock=config.clock, told=told, **options)
    field.shape = None if config.shape is None else tuple(config.shape)
    return field


def _check_meant(config: TrainConfig, network: nn.Module, noisy: bool) -> None:
    """ValueError if a setting is given that is of another kind of model than the one of this network."""
    meant = {
        "shown": ("a classifier of noisy states", noisy),
        "clock": ("a model that is told a time", config.path is not None),
        "sigma_data": ("a model that predicts edm", config.path is not None and not noisy),
    }
    for name, (kind, fits) in meant.items():
        if (given := getattr(config, name)) is not None and not fits:
            raise ValueError(f"{name}={given} is for {kind}, and {type(network).__name__} is none here: leave it out")


def load(path: str | Path, ema: bool | float = True, device: torch.device | str = "auto") -> nn.Module:
    """A trained model, ready to sample from.

    Args:
        path: A run folder (its newest checkpoint is taken) or a checkpoint file.
        ema: Take the averaged weights; False for those of the last step. A number is the relative width of the
            power-function average to make from the run's snapshots, at the checkpoint's step if ``path`` is one.
        device: Where to put it; "auto" is the GPU if there is one.
    Returns:
        The NetworkField (or NetworkPosterior, or bare classifier or autoencoder) in evaluation mode, without gradients;
        its ``config`` is the TrainConfig.
    Raises:
        ValueError: if there is no such run, or its checkpoint is damaged, foreign, or of an unknown component, or there
            are no snapshots to make the average from.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(
            f"a model is loaded from a run folder or a checkpoint file, named by its path, not {path!r:.80}"
        )
    if isinstance(ema, bool):
        file = _checkpoint(path)
        settings = checkpoint.read_meta(file)["config"]
        tensors = checkpoint.read_tensors(file, "ema." if ema else "model.")
    else:
        made = averaged(path, ema)
        file, settings, tensors = Path(path), made.config, made.tensors
    try:
        config = TrainConfig.of(settings)
        if config.shape is None:
            raise ValueError("its configuration has no shape, which training fills in from the data")
        model = build_model(config)
        if isinstance(model, NetworkField):
            model.asks = Asking(build_conditioner(config), config.data)
    except ValueError as error:
        imports = settings.get("imports")
        hint = f"; its recipe imports {', '.join(imports)}: import that first (imports={imports})" if imports else ""
        raise ValueError(f"{file} cannot be built: {error}{hint}") from None
    restore(model, tensors, file)
    model.config = config
    return model.to(device_of(str(device))).eval().requires_grad_(False)


def load_generative(path: str | Path, ema: bool | float = True, device: torch.device | str = "auto") -> Field:
    """As :func:`load`, for sampling: a super-resolution stage is given the small images of its held-out data.

    ValueError if the run is a classifier's or an autoencoder's.
    """
    model = load(path, ema, device)
    if not isinstance(model, NetworkField):
        kind = "an autoencoder" if isinstance(model, networks.Autoencoder) else "a classifier"
        raise ValueError(f"{path} holds {kind}, and only a generative model can be sampled")
    images = held_out_images(model.config)
    if images is None:
        return model
    given = Given(model, images)
    given.config = model.config
    return given.eval()


def _checkpoint(path: str | Path) -> Path:
    """The file itself, or the newest of a run folder."""
    file = Path(path)
    if checkpoint.is_checkpoint(file):
        if "lengths" in checkpoint.read_meta(file):
            raise ValueError(
                f"{file} is a snapshot of averages, and no checkpoint; load the run, with ema=0.05 or another width"
            )
        return file
    folder = RunFolder(file)
    folder.config()
    newest = folder.newest()
    if newest is None:
        raise ValueError(f"{path} holds no checkpoint yet; train it first, or further")
    return newest


def restore(model: nn.Module, tensors: Mapping[str, torch.Tensor], file: Path, strict: bool = True) -> None:
    """Put ``tensors`` into the model, each rank its share if it is sharded.

    Args:
        model: Filled in place.
        tensors: Whole, by name.
        file: Where they come from, for messages.
        strict: Whether all must fit; otherwise those that do not are left out.
    Raises:
        ValueError: naming the first that does not fit, if ``strict``.
    """
    state = model.state_dict()
    for name in {**state, **dict.fromkeys(tensors)}:
        given = tensors.get(name)
        ours, theirs = ("absent" if each is None else tuple(each.shape) for each in (state.get(name), given))
        if ours == theirs:
            filled(state[name], given)
        elif strict:
            raise ValueError(f"{file} does not fit its own configuration: {name} is {theirs} there and {ours} here")
