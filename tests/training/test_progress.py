"""What one sees of a run: lines where there is no terminal, a bar where there is one, curves in the log."""

import logging
import sys
from pathlib import Path

import pytest
import torch
from tiny_runs import recipe

from flowguide import training
from flowguide.training.logs import Nowhere, writer_to
from flowguide.training.progress import Progress


class Terminal:
    """Takes what is written, and says that it is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def follow(steps: int, **options: object) -> None:
    with Progress(Nowhere(), steps, 0, batch_size=32, **options) as progress:
        for step in range(1, steps + 1):
            progress.step(step, torch.tensor(0.5), torch.tensor(1.0), 1e-3)


def test_without_a_terminal_there_are_lines(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(Progress, "line_every", 0.0)
    with caplog.at_level(logging.INFO, "flowguide"):
        follow(3)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(":")[0] for line in lines] == ["step 1 of 3", "step 2 of 3", "step 3 of 3"]
    assert all("loss 0.5000, " in line and "samples/s" in line for line in lines)


def test_lines_are_few_and_say_how_long_it_takes(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr("flowguide.training.progress.time.monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO, "flowguide"):
        follow(9)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3, "one each 30 s"
    assert lines[0] == "step 3 of 9: loss 0.5000, 3 samples/s, 01:00 left"
    assert lines[-1] == "step 9 of 9: loss 0.5000, 3 samples/s"


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with caplog.at_level(logging.INFO, "flowguide"):
        follow(3)
    assert "training" in terminal.text
    assert "3/3" in terminal.text
    assert not caplog.records


def test_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(Progress, "line_every", 0.0)
    with caplog.at_level(logging.INFO, "flowguide"):
        follow(3, show=False)
    assert not caplog.records


def test_the_log_of_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training.train(recipe(training__steps=10, training__log="none"), tmp_path / "none", show=False)
    assert not (tmp_path / "none" / "logs").exists()
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"needs the extra 'wandb': pip install 'flowguide\[wandb\]'"):
        training.train(recipe(training__log="wandb"), tmp_path / "wandb", show=False)
    assert isinstance(writer_to("none", tmp_path, 0), Nowhere)


def test_curves_of_a_run_that_goes_on_have_every_step_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for done, steps in ((0, (1, 2, 3, 4)), (2, (3, 4, 5))):  # killed after step 4, with a checkpoint of step 2
        writer = writer_to("tensorboard", tmp_path, done)
        for step in steps:
            writer.add_scalar("loss", 10.0 * done + step, step)
        writer.close()
    found = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [(each.step, each.value) for each in found] == [(1, 1.0), (2, 2.0), (3, 23.0), (4, 24.0), (5, 25.0)]
