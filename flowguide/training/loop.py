"""The training loop: batch, loss, backward, step, average, log, checkpoint.

Every random number is a function of (seed, step): data order, noise, times and dropout. A checkpoint therefore needs no
generator's state, and a run that was interrupted goes on as if it had not been, to the bit.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn

from ..conditioners import Tell
from ..data import Samples, batches, flipped
from ..devices import device_of
from ..objectives import Objective
from ..randomness import derive, seed_layers
from . import checkpoint
from .averages import Averages
from .batches import Order, Shards
from .config import TrainConfig
from .interruption import Interrupted, Interruption
from .logs import Nowhere, Writer, writer_to
from .optimizers import Optimizers
from .parallel import Loss, network_of, replicated, shard, summing
from .progress import Diverged, Progress
from .ranks import is_loss_of_a_rank
from .run_folder import RunFolder
from .sharded import whole
from .state import put_back, state

log = logging.getLogger(__name__)

Watch = Callable[[int, nn.Module, Writer], None]

_SOURCE = 2  # the stream of a seed for the order of the source; those of a batch are in batches.py


def fit(
    model: nn.Module,
    objective: Objective,
    dataset: Samples,
    config: TrainConfig,
    run: RunFolder,
    show: bool = True,
    source: Samples | None = None,
    watch: Watch | None = None,
    tell: Tell | None = None,
) -> nn.Module:
    """Train ``model`` from the newest checkpoint of ``run``, or from the start, and return the averaged model.

    Args:
        model: On its device, or on the host if it is to be shared out (``parallel=fsdp``); trained in place.
        objective: Gives the loss.
        dataset: In memory on the same device, or read as it is needed.
        config: How to train, and from which seed; kept in every checkpoint, so that each can be loaded by itself.
        run: Where checkpoints and logs go, and whose ranks train.
        show: Show how it goes.
        source: What the flow is to start from, likewise; None for Gaussian noise.
        watch: Called after every step with its number, the averaged model and the log; on all ranks if each holds a
            share of the model, and otherwise on the first.
        tell: Makes the conditions of a batch (:mod:`flowguide.conditioners`); None for its labels.
    Raises:
        ValueError: if loss or gradient stay infinite or NaN (the last good checkpoint stays), a process of the run
            goes away, or the last checkpoint cannot be written.
        Interrupted: on Ctrl-C or SIGTERM, after a checkpoint is written.
    """
    options, ranks = config.options, run.ranks
    shards = Shards.of(options, ranks, config.seed)
    order = Order(dataset, options.batch_size, config.seed)
    averages = Averages(model, options.ema, options.ema_warmup, options.ema_lengths)
    if options.parallel == "fsdp" and ranks.world > 1:
        for each in (model, *averages.models.values()):
            shard(each, ranks, device_of(ranks.device(config.device)))
    optimizers = Optimizers(model, options)
    step = _resume(run, model, averages, optimizers, strict=not config.allow)
    if step >= options.steps:
        log.info("%s is trained already, to step %d of %d", run.folder, step, options.steps)
        return averages.model
    if run.files():
        run.describe(config.settings())
    if step:
        log.info("going on from step %d", step)
    device = next(model.parameters()).device
    generator = torch.Generator(device)
    if options.compile:
        network_of(model).compile()
    loss_of = Loss(model, objective, options.precision == "bfloat16")
    loss_of = loss_of if options.parallel == "fsdp" else replicated(loss_of, ranks)
    model.train()

    writer = writer_to(options.log, run.logs, step) if ranks.first else Nowhere()
    progress = Progress(writer, options.steps, step, options.batch_size, show and ranks.first, options.skips)
    with ExitStack() as stack:
        for each in (progress, _explained(run), _rounding(options.tf32)):
            stack.enter_context(each)
        interruption = stack.enter_context(Interruption(patient=ranks.world > 1))
        workers = min(options.workers, os.cpu_count() or 1)
        passes = (step * options.accumulate, options.steps * options.accumulate, device, workers)
        feed = stack.enter_context(closing(batches(dataset, partial(shards.rows, order), *passes)))
        starts = repeat((None, None))
        if source is not None:
            order = Order(source, options.batch_size, derive(config.seed, _SOURCE))
            starts = stack.enter_context(closing(batches(source, partial(shards.rows, order), *passes)))

        while step < options.steps:
            optimizers.zero_grad()
            losses = []
            for passed in range(options.accumulate):
                (data, labels), (start, _) = next(feed), next(starts)
                seed = shards.seed_of(step * options.accumulate + passed)
                generator.manual_seed(seed)
                seed_layers(seed, device)
                data = flipped(data, generator) if dataset.flip else data
                cond = labels if tell is None else tell(data, labels, generator)
                with summing(loss_of, last=passed == options.accumulate - 1):
                    loss = loss_of(data, cond, start, generator)
                    (loss / options.accumulate).backward()
                losses.append(loss.detach())
            norm = whole(nn.utils.clip_grad_norm_(model.parameters(), options.clip))
            loss = ranks.mean(torch.stack(losses).mean())
            rate = optimizers.step(step, finite=norm.isfinite() & loss.isfinite())
            averages.update(step)
            step += 1

            progress.step(step, loss, norm, rate, objective.report)
            stop = ranks.any(interruption.requested)
            if options.is_snapshot(step):
                _save_snapshot(run, step, averages.snapshot(), config)
            if step % options.save_every == 0 or step == options.steps or stop:
                progress.flush()  # before the file is written: a checkpoint is never of a run gone wrong
                _save(run, step, state(model, averages, optimizers), config, last=stop or step == options.steps)
            if watch is not None and (ranks.first or options.parallel == "fsdp"):
                watch(step, averages.model, writer)
            if stop and step < options.steps:
                raise Interrupted(f"stopped after step {step} of {options.steps}; the same command goes on from there")
        ranks.wait()  # for the first one to have written the last checkpoint
    return averages.model


def _resume(run: RunFolder, model: nn.Module, averages: Averages, optimizers: Optimizers, strict: bool) -> int:
    """Restore everything from the newest good checkpoint; the number of steps done."""
    path = run.newest(fall_back=True)
    if path is None:
        return 0
    put_back(path, model, averages, optimizers, strict)
    return checkpoint.read_meta(path)["step"]


def _save(run: RunFolder, step: int, tensors: Mapping[str, Tensor], config: TrainConfig, last: bool) -> None:
    """Write a checkpoint; if there is no room for it, the run goes on, and its last one has to succeed."""
    try:
        run.save(step, dict(tensors), config.settings(), config.options.keep)
    except checkpoint.Unwritten as error:
        if last:
            raise ValueError(f"{error}; {_kept(run)}. Make room, and the same command goes on from there") from None
        log.warning("%s; %s. The run goes on, and writes the next one as if nothing had been", error, _kept(run))


def _save_snapshot(run: RunFolder, step: int, tensors: Mapping[str, Tensor], config: TrainConfig) -> None:
    """Write a snapshot of averages; if there is no room for it, the run goes on without."""
    try:
        run.save_snapshot(step, dict(tensors), config.settings())
    except OSError as error:
        log.warning("%s; the run goes on, and later averages are made without this snapshot", error)


@contextmanager
def _explained(run: RunFolder) -> Iterator[None]:
    """Say what is left of a run that cannot go on."""
    try:
        yield
    except Diverged as error:
        raise ValueError(f"{error}; {_kept(run)}. Try a smaller training.learning_rate or training.clip") from None
    except RuntimeError as error:
        if run.ranks.world == 1 or not is_loss_of_a_rank(error):
            raise
        raise ValueError(
            f"another process of this run is gone, and process {run.ranks.rank} stops; {_kept(run)}, and the same "
            f"command goes on from there"
        ) from None


def _kept(run: RunFolder) -> str:
    paths: list[Any] = run.files()
    return f"the last good checkpoint is {paths[-1]}" if paths else "no checkpoint had been written yet"


@contextmanager
def _rounding(tf32: bool) -> Iterator[None]:
    """Let GPUs round the factors of float32 products to TF32, or not, while it is entered."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
