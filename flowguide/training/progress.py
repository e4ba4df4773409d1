"""What one sees of a training run: a bar or lines, and curves; and a stop where losses are no longer finite."""

import logging
import math
import sys
import time
from collections.abc import Mapping
from types import MappingProxyType, TracebackType

import torch
from torch import Tensor
from tqdm import tqdm

from .logs import Writer

log = logging.getLogger(__name__)


class Diverged(ValueError):
    """The loss or the gradient was infinite or NaN too often in a row."""


class Progress:
    """Follows a run step by step.

    On a GPU the losses are read every ``flush_every`` steps only, so that the device need not wait for each.

    Args:
        writer: Where curves go.
        steps: Of the whole run.
        done: Steps that were taken before.
        batch_size: For the rate.
        show: Show how it goes: a bar on a terminal, elsewhere a line every ``line_every`` seconds.
        skips: How many steps in a row may fail to be finite.
    """

    flush_every = 20
    line_every = 30.0

    def __init__(
        self, writer: Writer, steps: int, done: int, batch_size: int, show: bool = True, skips: int = 0
    ) -> None:
        self.writer = writer
        self.batch_size = batch_size
        self.skips = skips
        bar = show and sys.stderr.isatty()
        self.bar = tqdm(total=steps, initial=done, unit="step", desc="training", disable=not bar, mininterval=0.2)
        self._lines = show and not bar
        self._started = self._spoken = time.monotonic()
        self._done = self._first = done
        self._steps = steps
        self._failed = 0
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
        """Read the losses noted so far.

        Raises:
            Diverged: naming the first step of those that failed to be finite, if they are too many in a row.
        """
        if not self._pending:
            return
        values = torch.stack([torch.stack([loss, norm]) for _, loss, norm, _, _ in self._pending]).tolist()
        for (step, _, _, rate, report), (loss, norm) in zip(self._pending, values, strict=True):
            self._check(step, loss, norm)
            if not self._failed:
                self._smooth = loss if math.isnan(self._smooth) else 0.98 * self._smooth + 0.02 * loss
            if step % 10 == 0:
                numbers = {"loss": loss, "gradient_norm": norm, "learning_rate": rate, **report}
                for name, number in numbers.items():
                    if math.isfinite(number):
                        self.writer.add_scalar(name, float(number), step)
        self._done = self._pending[-1][0]
        self._pending = []
        self._show()

    def _check(self, step: int, loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            self._failed = 0
            return
        self._failed += 1
        if self._failed > self.skips:
            steps = f"step {step}" if self._failed == 1 else f"steps {step - self._failed + 1} to {step}"
            raise Diverged(f"the loss became {loss:g} in {steps} (gradient norm {norm:g})")
        log.warning("step %d is left out: its loss is %g, its gradient norm %g", step, loss, norm)

    def _show(self) -> None:
        now = time.monotonic()
        if not self.bar.disable:
            self.bar.update(self._done - self.bar.n)
            rate = self.bar.format_dict["rate"]
            self.bar.set_postfix_str(self._words(rate), refresh=False)
        elif self._lines and (now - self._spoken >= self.line_every or self._done == self._steps):
            self._spoken = now
            rate = (self._done - self._first) / max(now - self._started, 1e-9)
            left = (self._steps - self._done) / rate
            ends = f", {tqdm.format_interval(left)} left" if left >= 1 else ""
            log.info("step %d of %d: %s%s", self._done, self._steps, self._words(rate), ends)

    def _words(self, rate: float | None) -> str:
        speed = f", {rate * self.batch_size:.0f} samples/s" if rate else ""
        memory = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if torch.cuda.is_initialized() else ""
        return f"loss {self._smooth:.4f}{speed}{memory}"
