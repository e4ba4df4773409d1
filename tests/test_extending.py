"""A newcomer's single file, outside the package, and the command line that uses it; and a wheel that stands alone."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from command_line import TINY
from safetensors.torch import load_file

import flowguide as fg

ROOT = Path(fg.__file__).parent.parent

MINE = '''
"""A path, a guidance rule, a solver, a network and a data set of one's own."""
import torch
import flowguide as fg


@fg.paths.register("squares")
class Squares(fg.paths.Path):
    """alpha = t, sigma = 1 - t^2."""

    def alpha(self, t):
        return t

    def sigma(self, t):
        return 1 - t**2


@fg.guidance.register("late")
class Late(fg.guidance.Guidance):
    """Guidance that sets in after some time."""

    def __init__(self, field: fg.Field, w: float = 2.0, after: float = 0.5):
        super().__init__(field)
        self.w, self.after = w, after

    def predict(self, x, t, cond):
        if t < self.after:
            return self.field(x, t, cond)
        return self.field(x, t, None).lerp(self.field(x, t, cond), self.w)


@fg.solvers.register("plain")
class Plain(fg.solvers.Solver):
    """Euler's method once more."""

    order = 1
    evaluations = property(lambda self: self.steps)

    def states(self, field, x, cond, times):
        for t, s in zip(times[:-1], times[1:]):
            x = x + (s - t).item() * field(x, t, cond).velocity
            yield x


@fg.data.register("dots")
def dots(split: str = "train", count: int = 64) -> fg.data.Dataset:
    """Two dots."""
    labels = torch.arange(count) % 2
    return fg.data.Dataset(f"dots ({split})", torch.stack([labels * 2.0 - 1, labels * 0.0], 1), labels, 2)
'''

RECIPE = """
# Mine.
imports: [mine]
defaults:
  - base/train
  - data: dots
  - path: squares
  - network: mlp
  - objective: cfm
  - _self_
"""


def flowguide(folder: Path, *words: str, path: Path = ROOT, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    code = "from flowguide.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=folder, env=environment, capture_output=True, text=True, **options
    )


def test_components_of_ones_own_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    tiny = [word for word in TINY if not word.startswith("data")]
    ended = flowguide(tmp_path, "train", "mine", *tiny)
    assert ended.returncode == 0, ended.stderr
    config = yaml.safe_load((tmp_path / "runs/mine/config.yaml").read_text())
    assert (config["path"], config["data"]) == ({"name": "squares"}, {"name": "dots", "count": 64})

    words = ["guidance=late", "guidance.after=0.3", "solver=plain", "solver.steps=5", "num=4", "imports=[mine]"]
    ended = flowguide(tmp_path, "sample", "runs/mine", *words)
    assert ended.returncode == 0, ended.stderr
    (file,) = (tmp_path / "runs/mine/samples").glob("late_w2_plain5_seed0_*.safetensors")
    assert load_file(file)["data"].shape == (4, 2)

    # A checkpoint runs no code, not even an import, of its own accord; it says what to import.
    ended = flowguide(tmp_path, "sample", "runs/mine")
    assert ended.returncode == 2
    assert "unknown path 'squares'" in ended.stderr
    assert "imports=['mine']" in ended.stderr
    # Mistakes are answered as for our own.
    ended = flowguide(tmp_path, "sample", "runs/mine", "guidance=late", "guidance.aftr=1", "imports=[mine]")
    assert ended.returncode == 2
    assert "did you mean 'guidance.after'" in ended.stderr
    ended = flowguide(tmp_path, "list", "paths", "imports=[mine]")
    assert "sigma = 1 - t^2" in ended.stdout


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    words = ["train", "moons", *TINY[1:], "training.steps=2000", "training.save_every=100000"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    code = "from flowguide.cli import main; main()"
    for number in (signal.SIGINT, signal.SIGTERM):
        running = subprocess.Popen(
            [sys.executable, "-c", code, *words], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
        )
        logs = tmp_path / "runs/moons/logs"
        known = set(logs.glob("events.*"))
        deadline = time.time() + 60
        while set(logs.glob("events.*")) == known and time.time() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        running.send_signal(number)
        _, err = running.communicate(timeout=60)
        assert running.returncode == 130, err
        assert "stopped after step" in err
        assert "the same command goes on from there" in err
        assert "Traceback" not in err
    assert flowguide(tmp_path, *words).returncode == 0
    assert flowguide(tmp_path, *words, "run=runs/whole").returncode == 0
    parts, whole = (
        load_file(tmp_path / f"runs/{run}/checkpoints/step-00002000.safetensors") for run in ("moons", "whole")
    )
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], whole[name]) for name in parts)


@pytest.mark.slow
def test_an_installed_wheel_finds_its_recipes(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "work").mkdir()
    ended = flowguide(tmp_path / "work", "train", "moons", *TINY, path=tmp_path / "site")
    assert ended.returncode == 0, ended.stderr
    where = "import flowguide.cli.recipes as r; print(r.folder())"
    shown = subprocess.run(
        [sys.executable, "-c", where],
        cwd=tmp_path / "work",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == str(tmp_path / "site/flowguide/recipes")
