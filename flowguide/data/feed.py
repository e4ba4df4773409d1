"""From a data set to the batches of a training run, on the model's device.

Which samples a step is shown is a function of the step, and nothing else: batches are the same to the bit for any
number of workers, and for a run that goes on in the middle.
"""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from .base import Samples
from .streamed import Read, Streamed

Choose = Callable[[int], Tensor]


def batches(
    dataset: Samples, choose: Choose, start: int, stop: int, device: torch.device | str, workers: int = 0
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The batches of steps ``start`` to ``stop``.

    What is held in memory lies on the device and is indexed there. What is streamed is read ahead by worker processes;
    bytes go over the bus, from pinned memory and without waiting if the device is a GPU, and are scaled on the device.

    Args:
        dataset: On any device.
        choose: The samples of a step: their indices, shape (B,), int64.
        start: First step.
        stop: One after the last.
        device: Where batches are wanted.
        workers: Processes that read a streamed set; 0 to read in this one. They end with the iterator: when it is
            exhausted, closed or let go of. Ctrl-C and SIGTERM are left to the process that started them.
    Yields:
        As :meth:`Samples.batch`: data, shape (B, *), float32; labels, shape (B,), int64, or None.
    Raises:
        ValueError: if ``workers`` is negative, nothing can be read any more, or a worker is gone.
    """
    if workers < 0:
        raise ValueError(f"workers must be at least 0, not {workers}")
    return _batches(dataset, choose, start, stop, torch.device(device), workers)


def _batches(
    dataset: Samples, choose: Choose, start: int, stop: int, device: torch.device, workers: int
) -> Iterator[tuple[Tensor, Tensor | None]]:
    dataset = dataset.to(device)
    if isinstance(dataset, Streamed):
        try:
            for read in _reads(dataset, choose, start, stop, device, workers):
                yield dataset.receive(read)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise ValueError(
                f"a process that reads {dataset.name} is gone ({str(error).splitlines()[0]}); if it was for want of "
                f"memory, take fewer of them, workers={max(workers - 1, 0)}"
            ) from None
    else:
        for step in range(start, stop):
            yield dataset.batch(choose(step))


def _reads(
    dataset: Streamed, choose: Choose, start: int, stop: int, device: torch.device, workers: int
) -> DataLoader[Read]:
    return DataLoader(
        dataset.reader,
        batch_size=None,  # the sampler gives whole batches, and a worker reads one at a time
        sampler=_Steps(choose, start, stop),
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=device.type == "cuda",
        worker_init_fn=_leave_signals_to_the_main_process if workers else None,
        generator=torch.Generator(),  # for its own seeds; torch's global one is the model's
    )


@dataclass
class _Steps(Sampler[list[int]]):
    """The indices of each step; as lists, which cross to a worker without shared memory."""

    choose: Choose
    start: int
    stop: int

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.stop):
            yield self.choose(step).tolist()


def _as_it_is(read: Read) -> Read:
    return read


def _leave_signals_to_the_main_process(worker: int) -> None:
    """Ctrl-C, or a cluster that stops a job, reaches every process of it; the main one then ends its step in order.

    A second SIGTERM ends the worker: there must be some way to be rid of one that hangs.
    """

    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, once)
