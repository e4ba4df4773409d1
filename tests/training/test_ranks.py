"""Two real processes that train together: the steps of one, checkpoints for any number, and a clear end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from on_two_ranks import WATCH, evaluation, settings, watched
from tiny_runs import final, same

import flowguide as fg
from flowguide import training
from flowguide.evaluation import evaluate, watcher
from flowguide.training import checkpoint

TESTS = Path(__file__).parents[1]
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def start(words: Sequence[str], **more: object) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(words, env=ENVIRONMENT, start_new_session=True, **pipes, **more)


def everything(folder: Path) -> dict[str, torch.Tensor]:
    newest = training.RunFolder(folder).newest()
    return dict(checkpoint.read_tensors(newest).items())


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two ranks did; in "one" is the same on one, and half of it in "from_one" to begin with."""
    folder = tmp_path_factory.mktemp("ranks")
    training.train(settings(accumulate=2), folder / "one", show=False)
    training.train(settings(accumulate=2, steps=8), folder / "from_one", show=False)
    ENVIRONMENT["FLOWGUIDE_CACHE"] = str(folder / "judges")
    process = start([*TORCHRUN, str(TESTS / "on_two_ranks.py"), str(folder)])
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return folder


def notes(folder: Path) -> list[dict]:
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]


def assert_same_run(one: Path, other: Path) -> None:
    """Equal but for rounding, which Adam enlarges where a gradient is nothing else: keys have no use for their bias."""
    expected, found = everything(one), everything(other)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-4)
    digits = fg.data.build("digits")
    losses = [
        fg.objectives.build("cfm")(
            fg.load(folder), data=digits.data, cond=digits.labels, generator=torch.Generator().manual_seed(0)
        )
        for folder in (one, other)
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=0.0)


def curve(folder: Path) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "logs")).Reload()
    return [(event.step, event.value) for event in events.Scalars("loss")]


def test_two_ranks_are_one_with_two_passes(two: Path) -> None:
    assert_same_run(two / "one", two / "ddp")
    one, both = curve(two / "one"), curve(two / "ddp")
    assert [step for step, _ in one] == [step for step, _ in both] == [10, 20]
    assert [loss for _, loss in both] == pytest.approx([loss for _, loss in one], rel=1e-5)


def test_shares_are_the_same_numbers_and_half_of_them_each(two: Path) -> None:
    training.train(settings(accumulate=2), two / "fsdp", show=False)  # from step 16 on, on one rank
    assert_same_run(two / "one", two / "fsdp")
    one, shared = curve(two / "one"), curve(two / "fsdp")
    assert [step for step, _ in one] == [step for step, _ in shared] == [10, 20]
    assert [loss for _, loss in shared] == pytest.approx([loss for _, loss in one], rel=1e-5)
    count = sum(p.numel() for p in fg.load(two / "one").parameters())
    for each in notes(two):
        assert count / 3 < each["shares"] < 2 * count / 3


def test_a_checkpoint_of_one_goes_on_in_shares(two: Path) -> None:
    newest = training.RunFolder(two / "from_one").newest()
    assert newest.is_dir()
    assert {"meta.json"} < {file.name for file in newest.iterdir()}
    assert_same_run(two / "one", two / "from_one")


def test_a_checkpoint_in_shares_is_loaded_as_any(two: Path) -> None:
    x, t, y = torch.randn(2, 1, 8, 8), torch.tensor(0.4), torch.tensor([3, 10])
    expected = fg.load(two / "one")(x, t, y).velocity
    for path in (two / "from_one", training.RunFolder(two / "from_one").newest()):
        torch.testing.assert_close(fg.load(path)(x, t, y).velocity, expected, rtol=1e-4, atol=1e-5)


def test_a_damaged_share_is_named(two: Path) -> None:
    run = training.RunFolder(two / "from_one")
    share = next(run.newest().glob("*.safetensors"))
    whole = share.read_bytes()
    share.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"step-00000024 is not a whole checkpoint.*the last good checkpoint is .*16"):
        fg.load(two / "from_one")
    share.write_bytes(whole)


def test_power_averages_of_two_ranks(two: Path) -> None:
    assert [file.name for file in training.RunFolder(two / "averages").snapshots()] == [
        "step-00000012.safetensors",
        "step-00000024.safetensors",
    ]
    assert same(final(two / "averages"), {**final(two / "averages"), **final(two / "ddp")})


def test_runs_of_two_ranks_are_watched_as_those_of_one(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWGUIDE_CACHE", ENVIRONMENT["FLOWGUIDE_CACHE"])
    alone = watched("ddp", accumulate=2)
    training.train(alone, two / "watched", show=False, watcher=watcher(WATCH, show=False))
    expected = json.loads((two / "watched/watch/rows.json").read_text())
    assert list(expected) == ["12", "24"]
    for parallel in ("ddp", "fsdp"):
        rows = json.loads((two / f"watched_{parallel}/watch/rows.json").read_text())
        for step, row in expected.items():
            assert rows[step] == pytest.approx(row, rel=1e-3)
        best = fg.load(two / f"watched_{parallel}/best.safetensors")
        assert all(p.isfinite().all() for p in best.parameters())


def test_samples_of_a_model_in_shares(two: Path) -> None:
    first, second = (torch.tensor(each["samples"]) for each in notes(two))
    assert first.isfinite().all()
    assert torch.equal(first, second)


def test_an_evaluation_of_two_ranks_gives_the_same_numbers(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWGUIDE_CACHE", ENVIRONMENT["FLOWGUIDE_CACHE"])
    expected = evaluate(evaluation(two, "alone"), two / "alone", show=False)
    assert json.loads((two / "both/points.json").read_text())
    for each in notes(two):
        assert len(each["rows"]) == len(expected) == 3
        for row, alone in zip(each["rows"], expected, strict=True):
            assert row.keys() == alone.keys()
            for name, value in alone.items():
                assert row[name] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)


def test_a_sample_is_the_same_whoever_draws_it(two: Path) -> None:
    field = fg.load(two / "ddp")
    for count in (1, 7):
        expected = fg.sample(
            field, (count, 1, 8, 8), torch.arange(count), fg.solvers.build("euler_maruyama", steps=3), batch_size=3
        )
        for each in notes(two):
            torch.testing.assert_close(torch.tensor(each["drawn"][str(count)]), expected, rtol=1e-5, atol=1e-5)


def test_ranks_agree(two: Path) -> None:
    for each in notes(two):
        assert each["mean"] == 0.5
        assert each["any"] == [True, False]
        assert "batch_size=25 cannot be cut into 2 (processes) x 1 (training.accumulate)" in each["uneven"]
        assert "the nearest that can is 24" in each["uneven"]
        assert "batch_size=3000 is more than the 1438 samples" in each["too many"]


def trains(folder: Path, *more: str) -> list[str]:
    options = ["training.steps=4000", "training.save_every=20", "training.batch_size=32", "device=cpu", *more]
    return [*TORCHRUN, "-m", "flowguide", "train", "moons", f"run={folder}", *options]


def until(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def workers(process: subprocess.Popen) -> list[int]:
    children = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True)
    return [int(pid) for pid in children.stdout.split()]


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_run_on_all_and_the_same_command_goes_on(tmp_path: Path) -> None:
    process = start(trains(tmp_path))
    until(lambda: len(training.RunFolder(tmp_path).files()) == 2)
    os.kill(workers(process)[-1], signal.SIGKILL)
    output, _ = process.communicate(timeout=100)
    assert process.returncode != 0
    assert "another process of this run is gone, and process 0 stops; the last good checkpoint is" in output
    assert "the same command goes on from there" in output
    done = checkpoint.read_meta(training.RunFolder(tmp_path).newest())["step"]
    process = start(trains(tmp_path))
    until(lambda: checkpoint.read_meta(training.RunFolder(tmp_path).newest())["step"] > done)
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=100)
    assert f"going on from step {done}" in output


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_ranks_write_one_checkpoint_and_say_how_to_go_on(tmp_path: Path, number: int) -> None:
    process = start(trains(tmp_path, "training.save_every=100000"))
    until(lambda: list((tmp_path / "logs").glob("events.*")))
    time.sleep(3)
    os.killpg(process.pid, number)  # as a terminal does, to torchrun and its processes
    output, _ = process.communicate(timeout=100)
    assert "the same command goes on from there" in output
    assert len(training.RunFolder(tmp_path).files()) == 1
