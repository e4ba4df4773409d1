"""What a run folder keeps: nothing that is good is written over, and no two processes are at work in one."""

import logging
import os
import select
import sys
import time
from pathlib import Path
from traceback import StackSummary

import pytest
import torch
from tiny_runs import final, recipe, same
from torch import nn

from flowguide import training
from flowguide.training import RunFolder, checkpoint, logs
from flowguide.training.claim import Claim
from flowguide.training.ranks import Ranks


def kept(run: RunFolder) -> list[int]:
    return [int(file.name[5:13]) for file in run.files()]


def save(run: RunFolder, step: int, keep: int = 9, **meta: object) -> Path:
    file = run.save(step, {"model.x": torch.ones(1)}, recipe(), keep)
    if meta:
        checkpoint.write(file, {"model.x": torch.ones(1)}, {"step": step, "config": recipe(), **meta})
    return file


def test_checkpoints_of_a_newer_flowguide_are_left_alone(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.open(recipe())
    save(run, 10)
    save(run, 20, format=checkpoint.FORMAT + 1)
    for fall_back in (False, True):
        with pytest.raises(ValueError, match=r"step-00000020.* format 2; .* a newer one wrote it, so update flowguide"):
            run.newest(fall_back)


def test_a_run_of_which_nothing_can_be_read_does_not_begin_anew(tmp_path: Path) -> None:
    training.train(recipe(training__steps=2), tmp_path, show=False)
    for file in RunFolder(tmp_path).files():
        file.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"is not a whole checkpoint.*no other checkpoint.*start over with fresh=true"):
        training.train(recipe(training__steps=2), tmp_path, show=False)
    training.train(recipe(training__steps=2, fresh=True), tmp_path, show=False)


@pytest.mark.parametrize(("keep", "left"), [(1, [25]), (2, [20, 25]), (9, [10, 20, 25])])
def test_a_damaged_checkpoint_drives_out_no_good_one(tmp_path: Path, keep: int, left: list[int]) -> None:
    run = RunFolder(tmp_path)
    run.open(recipe())
    for step in (10, 20, 30):
        save(run, step)
    run.files()[-1].write_bytes(b"damaged")
    save(run, 25, keep)  # of the run that has gone on from step 20
    assert kept(run) == left


def test_the_hundred_millionth_step_is_the_newest(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.open(recipe())
    last = [save(run, step) for step in (99_999_999, 100_000_000)][-1]
    assert len(run.files()) == 2
    assert run.newest() == last


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_of_one_step_there_is_one_checkpoint_in_either_form(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.open(recipe())
    folder = run.checkpoints / "step-00000010"
    for value in (1.0, 2.0):  # the second over the first, as after it was damaged
        checkpoint.write_shares(folder, {"model.x": torch.full((2,), value)}, {"step": 10}, Ranks())
        assert checkpoint.read_tensors(folder, "model.")["x"].tolist() == [value] * 2
    file = save(run, 10, keep=1)
    assert list(run.checkpoints.iterdir()) == [file]


def test_a_full_disk_under_shares_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed import checkpoint as distributed

    def full(*_: object, **__: object) -> None:  # as torch says it, with the tracebacks of all ranks
        raise distributed.CheckpointException("write", {1: (OSError(28, "No space left on device"), StackSummary())})

    monkeypatch.setattr(distributed, "save", full)
    with pytest.raises(checkpoint.Unwritten, match=r"00010 could not be written: \[Errno 28\] No space left on"):
        checkpoint.write_shares(tmp_path / "step-00000010", {}, {"step": 10}, Ranks())
    assert not list(tmp_path.iterdir())


def test_a_weight_with_two_names_is_kept_under_both(tmp_path: Path) -> None:
    model = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    model[1].weight = model[0].weight
    checkpoint.write(tmp_path / "x", model.state_dict(), {})
    assert same(dict(checkpoint.read_tensors(tmp_path / "x")), model.state_dict())


def test_who_comes_second_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reading, writing = os.pipe()
    claim = Claim(tmp_path)
    claim.take()
    child = os.fork()
    if child == 0:
        try:
            Claim(tmp_path).take()
            os.write(writing, b"!")
            time.sleep(60)  # until it is killed
        finally:
            os._exit(1)
    assert not select.select([reading], [], [], 0.2)[0], "it did not wait"
    claim.release()
    assert select.select([reading], [], [], 10)[0], "it waits for nobody"
    assert (tmp_path / ".claimed").exists(), "it has what was removed"
    os.kill(child, 9)
    os.waitpid(child, 0)
    claim.take()  # which a process that is killed lets go of
    assert not caplog.text
    claim.release()
    assert not list(tmp_path.iterdir())


def test_fresh_forgets_what_was_seen_of_the_earlier_run(tmp_path: Path) -> None:
    names = ("best.safetensors", "watch/rows.json", "logs/wandb_id")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    for fresh in (False, True):
        RunFolder(tmp_path).open(recipe(), fresh=fresh)
        assert [(tmp_path / name).exists() for name in names] == [not fresh] * 3


def test_a_full_disk_costs_snapshots_and_curves_and_no_run(tmp_path: Path, monkeypatch, caplog) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    settings = recipe(training={"steps": 20, "batch_size": 32, "ema_lengths": [0.1]})
    training.train(settings, tmp_path / "whole", show=False)
    monkeypatch.setattr(RunFolder, "save_snapshot", full)
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", full)
    training.train(settings, tmp_path / "full", show=False)
    assert same(final(tmp_path / "whole"), final(tmp_path / "full"))
    assert "No space left on device; the run goes on, and later averages" in caplog.text
    assert caplog.text.count("the curves end here") == 1


def test_a_log_that_is_not_installed_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"training.log=tensorboard needs tensorboard, .*log=none"):
        logs.writer_to("tensorboard", tmp_path, 0)


def test_an_average_that_was_not_kept_begins_with_the_weights(tmp_path: Path, caplog) -> None:
    short = {"steps": 20, "batch_size": 32, "decay": "constant", "ema": 0.9}
    training.train(recipe(training=short), tmp_path, show=False)
    more = {**short, "steps": 21, "ema_lengths": [0.05], "learning_rate": 1e-12}
    with caplog.at_level(logging.ERROR):
        training.train(recipe(training=more, allow=True), tmp_path, show=False)
    tensors = final(tmp_path)
    averages = {name: each for name, each in tensors.items() if name.startswith("averages.0.05.")}
    assert averages
    for name, average in averages.items():
        torch.testing.assert_close(average, tensors[name.replace("averages.0.05.", "model.")])
