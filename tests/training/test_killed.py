"""Runs that are killed without a word, and disks that are full: nothing that was written is lost, and all goes on."""

import logging
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_runs import final, recipe, same

from flowguide import training
from flowguide.training import checkpoint

TESTS = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}


def killed(folder: Path, kills: int, world: int) -> subprocess.CompletedProcess:
    words = [sys.executable, str(TESTS / "killed_runs.py"), str(folder), str(kills), "0", str(world)]
    ended = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 0, ended.stderr
    return ended


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
def test_a_run_that_is_killed_twenty_times_is_the_same_run(tmp_path: Path, world: int) -> None:
    killed(tmp_path / "whole", 0, world)
    ended = killed(tmp_path / "killed", 20, world)
    assert ended.stderr.count("going on from the last good one") == 0, "no checkpoint is ever half"
    assert same(final(tmp_path / "whole"), final(tmp_path / "killed"))
    for folder in ("checkpoints", "averages"):
        names = [sorted(file.name for file in (tmp_path / run / folder).iterdir()) for run in ("whole", "killed")]
        assert names[0] == names[1], "nothing is left over"


def limited(size: int) -> None:
    """As on a full disk: no file of this process may grow beyond ``size``."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.fixture
def full_disk():
    """Makes the disk full when it is called, until the test ends."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.getsignal(signal.SIGXFSZ)
    yield limited
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_keeps_the_previous_checkpoint_and_says_so(tmp_path: Path, full_disk, caplog) -> None:
    training.train(recipe(training__steps=20, training__decay="constant"), tmp_path / "run", show=False)
    before = final(tmp_path / "run")
    full_disk(8000)
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(ValueError, match=r"step-00000040.safetensors could not be written: .*[Ff]ile.*; the last good "
                      r"checkpoint is .*step-00000020.safetensors. Make room, and the same command goes on"),
    ):  # fmt: skip
        training.train(recipe(training__log="none", training__decay="constant"), tmp_path / "run", show=False)
    assert "step-00000030.safetensors could not be written" in caplog.text
    assert "The run goes on" in caplog.text
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    assert same(before, final(tmp_path / "run"))
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 2, "and nothing is left over"
    training.train(recipe(training__log="none", training__decay="constant"), tmp_path / "run", show=False)
    training.train(recipe(training__decay="constant"), tmp_path / "whole", show=False)
    assert same(final(tmp_path / "whole"), final(tmp_path / "run"))


def test_what_a_killed_process_had_begun_is_cleared_away(tmp_path: Path) -> None:
    training.train(recipe(training__steps=20), tmp_path, show=False)
    folder = tmp_path / "checkpoints"
    (folder / ".step-00000030.safetensors.part").write_bytes(b"half")
    (folder / ".step-00000030.part").mkdir()
    (folder / ".tmpAbC123").write_bytes(b"half, by safetensors")
    (folder / ".step-00000010.gone").mkdir()
    (folder / ".step-00000010.gone" / "share").write_bytes(b"half")
    assert training.RunFolder(tmp_path).newest().name == "step-00000020.safetensors"
    training.train(recipe(training__steps=21), tmp_path, show=False)
    assert sorted(file.name for file in folder.iterdir()) == ["step-00000020.safetensors", "step-00000021.safetensors"]


def test_a_checkpoint_lies_whole_on_the_host_before_it_is_written(tmp_path: Path) -> None:
    """Weights whose channels lie innermost are read back as they were."""
    tensor = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    checkpoint.write(tmp_path / "a.safetensors", {"a": tensor}, {"step": 1})
    assert torch.equal(checkpoint.read_tensors(tmp_path / "a.safetensors")["a"], tensor)
