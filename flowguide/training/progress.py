"""What one sees of a training run: a bar, a TensorBoard log, and a stop at the first loss that is not finite."""

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType

import torch
from torch import Tensor
from tqdm import tqdm


class Diverged(ValueError):
    """The loss or the gradient became infinite or NaN."""


class Progress:
    """Follows a run step by step.

    On a GPU the losses are read every ``flush_every`` steps only, so that the device need not wait for each.

    Args:
        logs: TensorBoard folder.
        steps: Of the whole run.
        done: Steps that were taken before.
        batch_size: For the rate.
        show: Show the bar.
    """

    flush_every = 20

    def __init__(self, logs: Path, steps: int, done: int, batch_size: int, show: bool = True) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.batch_size = batch_size
        self.writer = SummaryWriter(str(logs), purge_step=done or None)
        # Without a terminal a bar is a line in a log: few will do.
        interval = 0.2 if sys.stderr.isatty() else 15
        self.bar = tqdm(total=steps, initial=done, unit="step", desc="training", disable=not show, mininterval=interval)
        self._pending: list[tuple[int, Tensor, Tensor, float, Mapping[str, Tensor]]] = []
        self._smooth = math.nan

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self.bar.close()
        self.writer.close()

    def step(
        self,
        step: int,
        loss: Tensor,
        gradient_norm: Tensor,
        learning_rate: float,
        report: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        """Note what step number ``step`` (from 1) gave; ``report`` holds what else the objective has to tell."""
        self._pending.append((step, loss.detach(), gradient_norm.detach(), learning_rate, report))
        if loss.device.type == "cpu" or len(self._pending) >= self.flush_every:
            self.flush()

    def flush(self) -> None:
        """Read the losses noted so far; Diverged names the first step whose loss or gradient is not finite."""
        if not self._pending:
            return
        values = torch.stack([torch.stack([loss, norm]) for _, loss, norm, _, _ in self._pending]).tolist()
        for (step, _, _, rate, report), (loss, norm) in zip(self._pending, values, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise Diverged(f"the loss became {loss:g} in step {step} (gradient norm {norm:g})")
            self._smooth = loss if math.isnan(self._smooth) else 0.98 * self._smooth + 0.02 * loss
            if step % 10 == 0:
                self.writer.add_scalar("loss", loss, step)
                self.writer.add_scalar("gradient_norm", norm, step)
                self.writer.add_scalar("learning_rate", rate, step)
                for name, number in report.items():
                    if math.isfinite(number):
                        self.writer.add_scalar(name, float(number), step)
        self.bar.update(len(self._pending))
        rate = self.bar.format_dict["rate"]
        speed = f", {rate * self.batch_size:.0f} samples/s" if rate else ""
        self.bar.set_postfix_str(f"loss {self._smooth:.4f}{speed}", refresh=False)
        self._pending = []
