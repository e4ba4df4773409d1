"""Batches of a training run: the same for any number of workers, and no process outlives them."""

import logging
import multiprocessing
import os
import re
import signal
import threading
import time
from contextlib import closing
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from flowguide.data import Dataset, Streamed, Unreadable, batches
from flowguide.data.base import scaled
from flowguide.data.streamed import held

COUNT, SHAPE = 40, (3, 4, 4)


@dataclass(frozen=True)
class Numbered:
    """Images that hold their own number; some cannot be read."""

    broken: tuple[int, ...] = ()
    slow: float = 0.0

    def __call__(self, number: int) -> Tensor:
        if number in self.broken:
            raise Unreadable(f"picture {number} cannot be read (it is torn)")
        time.sleep(self.slow)
        return torch.full(SHAPE, number, dtype=torch.uint8)


def streamed(**options) -> Streamed:
    return Streamed("numbers (train)", Numbered(**options), COUNT, SHAPE, torch.arange(COUNT), COUNT)


def choose(step: int) -> Tensor:
    return torch.randint(COUNT, (8,), generator=torch.Generator().manual_seed(step))


def no_workers_left() -> bool:
    deadline = time.time() + 10
    while multiprocessing.active_children() and time.time() < deadline:
        time.sleep(0.02)
    return not multiprocessing.active_children()


def drawn(dataset, start: int, stop: int, workers: int = 0) -> list[tuple[Tensor, Tensor]]:
    return list(batches(dataset, choose, start, stop, "cpu", workers))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_same_batches_for_any_number_of_workers(workers: int) -> None:
    found = drawn(streamed(), 0, 7, workers)
    assert len(found) == 7
    for step, (data, labels) in enumerate(found):
        assert torch.equal(labels, choose(step))
        assert data.dtype == torch.float32
        expected = choose(step)[:, None, None, None].expand(-1, *SHAPE)
        assert torch.equal(data, scaled(expected.to(torch.uint8)))
    # Going on in the middle, and the same held in memory.
    for others in (drawn(streamed(), 3, 7, workers), drawn(held(streamed()), 3, 7, workers)):
        assert len(others) == 4
        for (data, labels), (data_, labels_) in zip(found[3:], others, strict=True):
            assert torch.equal(data, data_)
            assert torch.equal(labels, labels_)
    assert no_workers_left()


def test_the_state_of_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    drawn(streamed(), 0, 3, 1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_workers_end_with_the_iterator() -> None:
    for end in ("close", "forget", "fail"):
        feed = batches(streamed(), choose, 0, 1000, "cpu", 2)
        next(feed)
        assert len(multiprocessing.active_children()) == 2
        if end == "close":
            feed.close()
        elif end == "forget":
            del feed
        else:
            with pytest.raises(KeyboardInterrupt), closing(feed):
                raise KeyboardInterrupt
        assert no_workers_left(), end


def test_workers_leave_signals_to_the_main_process() -> None:
    with closing(batches(streamed(slow=0.01), choose, 0, 12, "cpu", 2)) as feed:
        next(feed)
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGINT)
            os.kill(child.pid, signal.SIGTERM)
        assert len(list(feed)) == 11
    assert no_workers_left()


def test_a_second_signal_ends_a_worker_that_hangs() -> None:
    def kill() -> None:
        while not (children := multiprocessing.active_children()):
            time.sleep(0.01)
        time.sleep(0.5)  # until it has begun to wait
        for _ in range(2):
            os.kill(children[0].pid, signal.SIGTERM)
            time.sleep(0.1)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ValueError, match=r"a process that reads .* is gone \(.*; .*take fewer of them, workers=0"):
        drawn(streamed(slow=60), 0, 1, 1)
    killer.join()
    assert no_workers_left()


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_read_is_replaced_named_and_counted(workers: int, caplog: pytest.LogCaptureFixture) -> None:
    dataset = streamed(broken=(5, 6, 39))
    with caplog.at_level(logging.WARNING):
        (found,) = batches(dataset, lambda step: torch.tensor([4, 5, 6, 39]), 0, 1, "cpu", workers)
    data, labels = found
    assert labels.tolist() == [4, 7, 7, 0]  # the next that can, round the end, with its own label
    assert torch.equal(data[:, 0, 0, 0], scaled(labels.to(torch.uint8)))
    (record,) = caplog.records
    for words in ("picture 5 cannot be read (it is torn)", "picture 6", "picture 39", "(3 of 40 so far)"):
        assert words in record.message
    # Named once; the same in the next epoch.
    caplog.clear()
    (again,) = batches(dataset, lambda step: torch.tensor([4, 5, 6, 39]), 0, 1, "cpu", workers)
    assert torch.equal(again[0], data)
    assert not caplog.records


@pytest.mark.parametrize("workers", [0, 1])
def test_when_nothing_can_be_read_it_says_so(workers: int) -> None:
    dataset = streamed(broken=tuple(range(COUNT)))
    message = "numbers (train): 40 samples in a row cannot be read; the last one: picture"
    with pytest.raises(ValueError, match=re.escape(message)):
        drawn(dataset, 0, 1, workers)
    assert no_workers_left()


def test_in_memory_what_cannot_be_read_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = held(streamed(broken=(0, 9)), threads=4)
    assert isinstance(dataset, Dataset)
    assert dataset.labels.tolist() == [number for number in range(COUNT) if number not in (0, 9)]
    assert torch.equal(dataset.data[:, 0, 0, 0].long(), dataset.labels)
    assert "picture 0 cannot be read (it is torn); picture 9" in caplog.text
    assert "left out (2 of 40)" in caplog.text
    with pytest.raises(ValueError, match="no sample can be read; the first one: picture 0"):
        held(streamed(broken=tuple(range(COUNT))))


def test_a_load_that_gives_something_else_is_told() -> None:
    dataset = Streamed("odd", lambda number: torch.zeros(3, 4, 4), 5, SHAPE)
    with pytest.raises(ValueError, match=r"sample \d is float32 of shape \(3, 4, 4\), not uint8 of shape \(3, 4, 4\)"):
        dataset.batch(torch.tensor([0]))
    with pytest.raises(ValueError, match=r"sample 0: ZeroDivisionError"):
        held(Streamed("odd", lambda number: 1 // 0, 5, SHAPE))
    with pytest.raises(ValueError, match=r"odd streams images, of shape \(channels, height, width\), not \(2,\)"):
        Streamed("odd", len, 5, (2,))
    with pytest.raises(ValueError, match="workers must be at least 0, not -1"):
        batches(streamed(), choose, 0, 1, "cpu", -1)


def test_large_sets_stay_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowguide.data.streamed.MEMORY_LIMIT", COUNT * 48 - 1)
    assert isinstance(held(streamed()), Streamed)
    assert isinstance(held(streamed(), stream=False), Dataset)
    monkeypatch.setattr("flowguide.data.streamed.MEMORY_LIMIT", COUNT * 48)
    assert isinstance(held(streamed()), Dataset)
    assert isinstance(held(streamed(), stream=True), Streamed)


def test_batches_without_labels() -> None:
    dataset = Streamed("numbers", Numbered(), COUNT, SHAPE)
    ((data, labels),) = batches(dataset, choose, 4, 5, "cpu")
    assert labels is None
    assert len(data) == 8
