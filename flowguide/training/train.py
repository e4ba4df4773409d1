"""From a configuration to a trained run."""

import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import data, objectives
from ..randomness import derive
from .assemble import build_conditioner, build_dataset, build_model, device_of, with_data_options
from .config import TrainConfig
from .loop import Watch, fit
from .ranks import joined
from .run_folder import RunFolder

log = logging.getLogger(__name__)


def train(
    settings: Mapping[str, Any],
    folder: Path | str,
    show: bool = True,
    watcher: Callable[[TrainConfig, RunFolder, nn.Module], Watch] | None = None,
) -> nn.Module:
    """Train what a recipe describes, in ``folder``; a run that is there already goes on, once no one else trains it.

    Under ``torchrun`` all its processes train together.

    Args:
        settings: A recipe, resolved: see :class:`TrainConfig`.
        folder: The run folder.
        show: Show how it goes.
        watcher: Makes what is called after every step (:func:`.fit`), once configuration, folder and model are known.
    Returns:
        The trained model with averaged weights.
    Raises:
        ValueError: if anything in the recipe is wrong; Interrupted on Ctrl-C.
    """
    config = TrainConfig.of(settings)
    with joined() as ranks, closing(RunFolder(folder, ranks)) as run:
        return _train(config, run, show, watcher)


def _train(config: TrainConfig, run: RunFolder, show: bool, watcher: Any) -> nn.Module:
    device = device_of(run.ranks.device(config.device))
    objective = objectives.registry.build_from(config.objective)
    dataset = build_dataset(config, "train")
    conditioner = build_conditioner(config)
    source = None if config.source is None else data.registry.build_from(config.source, split="train")
    if source:
        first = torch.arange(1)
        objective.check_source(dataset[first], source[first])  # now, and not in the first step
    config = with_data_options(config, dataset, conditioner)
    dataset, tell = conditioner.prepare(dataset.to(device))
    torch.manual_seed(derive(config.seed))
    model = build_model(config)
    if config.options.parallel != "fsdp" or run.ranks.world == 1:  # to be shared out, it may be too large to be whole
        model = model.to(device)
    if (null := conditioner.null()) is not None:
        model.network.set_null(null)
    run.open(config.settings(), config.fresh, config.allow)
    log.log(
        logging.INFO if run.ranks.first else logging.DEBUG,
        "training %s (%.2f M parameters) on %s, %d samples of shape %s; %s, %d threads; in %s",
        config.network["name"],
        sum(p.numel() for p in model.parameters()) / 1e6,
        dataset.name,
        len(dataset),
        "x".join(map(str, dataset.shape)),
        device if run.ranks.world == 1 else f"{run.ranks.world} processes, the first on {device}",
        torch.get_num_threads(),
        run.folder,
    )
    watch = watcher and watcher(config, run, model)
    return fit(model, objective, dataset, config, run, show, source and source.to(device), watch, tell)
