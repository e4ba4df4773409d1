"""The training loop: batch, loss, backward, step, average, log, checkpoint.

Every random number is a function of (seed, step): data order, noise, times and dropout. A checkpoint therefore needs no
generator's state, and a run that was interrupted goes on as if it had not been, to the bit.
"""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from ..data import Samples
from ..objectives import Objective
from ..randomness import derive
from . import checkpoint
from .assemble import restore
from .config import TrainConfig
from .ema import EMA
from .interruption import Interrupted, Interruption
from .progress import Diverged, Progress
from .run_folder import RunFolder

log = logging.getLogger(__name__)

_ORDER, _STEP, _SOURCE = 0, 1, 2  # the streams of a seed: order of the data, all in a step, order of the source


def fit(
    model: nn.Module,
    objective: Objective,
    dataset: Samples,
    config: TrainConfig,
    run: RunFolder,
    show: bool = True,
    source: Samples | None = None,
) -> nn.Module:
    """Train ``model`` from the newest checkpoint of ``run``, or from the start, and return the averaged model.

    Args:
        model: On its device; trained in place.
        objective: Gives the loss.
        dataset: On the same device.
        config: How to train, and from which seed; kept in every checkpoint, so that each can be loaded by itself.
        run: Where checkpoints and logs go.
        show: Show the progress bar.
        source: What the flow is to start from, on the same device; None for Gaussian noise.
    Raises:
        ValueError: if the loss becomes infinite or NaN; names the step. The last good checkpoint stays.
        Interrupted: on Ctrl-C or SIGTERM, after a checkpoint is written.
    """
    options, seed = config.options, config.seed
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
    )
    ema = EMA(model, options.ema)
    step = _resume(run, model, ema, optimizer, device)
    if step >= options.steps:
        log.info("%s is trained already, to step %d of %d", run.folder, step, options.steps)
        return ema.model
    if step:
        log.info("going on from step %d", step)
    batches = Batches(dataset, options.batch_size, seed)
    starts = Batches(source, options.batch_size, derive(seed, _SOURCE)) if source else None
    generator = torch.Generator(device)
    model.train()

    with Interruption() as interruption, Progress(run.logs, options.steps, step, options.batch_size, show) as progress:
        while step < options.steps:
            data, labels = batches[step]
            generator.manual_seed(derive(seed, _STEP, step))
            torch.manual_seed(derive(seed, _STEP, step))  # dropout layers know no other generator
            for group in optimizer.param_groups:
                group["lr"] = options.learning_rate_at(step)

            start = starts[step][0] if starts else None
            loss = objective(model, data=data, cond=labels, source=start, generator=generator)
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), options.clip)
            optimizer.step()
            ema.update(step)
            step += 1

            try:
                progress.step(step, loss, norm, optimizer.param_groups[0]["lr"], objective.report)
                if step % options.save_every == 0 or step == options.steps or interruption.requested:
                    progress.flush()  # before the file is written: a checkpoint is never of a run gone wrong
                    run.save(step, _state(model, ema, optimizer), config.settings(), options.keep)
            except Diverged as error:
                raise _explain(error, run) from None
            if interruption.requested and step < options.steps:
                raise Interrupted(f"stopped after step {step} of {options.steps}; the same command goes on from there")
    return ema.model


class Batches:
    """Batch number ``step`` of endless reshuffled passes through the data; any batch is known without the ones before.

    Args:
        dataset: On the device where batches are wanted.
        batch_size: At most the size of the data set; a short rest at the end of an epoch is left out.
        seed: Fixes the order.
    """

    def __init__(self, dataset: Samples, batch_size: int, seed: int) -> None:
        if batch_size > len(dataset):
            raise ValueError(
                f"training.batch_size={batch_size} is more than the {len(dataset)} samples of {dataset.name}"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.per_epoch = len(dataset) // batch_size
        self._epoch = -1
        self._order = torch.empty(0)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor | None]:
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(derive(self.seed, _ORDER, epoch))
            self._epoch = epoch
            self._order = torch.randperm(len(self.dataset), generator=generator)
        chosen = self._order[position * self.batch_size : (position + 1) * self.batch_size]
        return self.dataset.batch(chosen)


def _state(model: nn.Module, ema: EMA, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything that a run needs to go on, as one flat dictionary of tensors."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"ema.{name}": tensor for name, tensor in ema.model.state_dict().items()}
    for name, parameter in model.named_parameters():
        tensors |= {f"optimizer.{name}.{key}": value for key, value in optimizer.state[parameter].items()}
    return tensors


def _resume(run: RunFolder, model: nn.Module, ema: EMA, optimizer: torch.optim.Optimizer, device: torch.device) -> int:
    """Restore everything from the newest good checkpoint; the number of steps done."""
    file = run.newest(fall_back=True)
    if file is None:
        return 0
    step = checkpoint.read_meta(file)["step"]
    restore(model, checkpoint.read_tensors(file, "model."), file)
    restore(ema.model, checkpoint.read_tensors(file, "ema."), file)
    moments = checkpoint.read_tensors(file, "optimizer.")
    for key, value in moments.items():
        name, _, moment = key.rpartition(".")
        parameter = model.get_parameter(name)
        if value.shape == parameter.shape:  # in the memory format of its parameter
            value = torch.empty_like(parameter).copy_(value)
        optimizer.state[parameter][moment] = value.to(device)
    return step


def _explain(error: Diverged, run: RunFolder) -> ValueError:
    files: list[Path] = run.files()
    kept = f"the last good checkpoint is {files[-1]}" if files else "no checkpoint had been written yet"
    return ValueError(f"{error}; {kept}. Try a smaller training.learning_rate or training.clip")
