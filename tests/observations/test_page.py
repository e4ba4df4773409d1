"""The page on inverse problems: its Python runs, and its commands do on a tiny run."""

import shlex
from pathlib import Path

import numpy
import pytest
from drawn import SMALL

import flowguide as fg
from flowguide.cli import main

PAGE = (Path(fg.__file__).parent.parent / "docs" / "inverse.md").read_text()


def test_its_python_runs() -> None:
    example = PAGE.partition("```python")[2].partition("```")[0]
    names: dict = {}
    exec(example, names)
    assert names["samples"].shape == (3, 2)
    assert names["close"]


def test_its_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["train", "digits", *SMALL, "run=runs/photos"])
    numpy.save("seen.npy", numpy.zeros((1, 8, 8), dtype="float32"))
    numpy.save("blurred.npy", numpy.zeros((1, 8, 8), dtype="float32"))
    block = PAGE.partition("## Images of your own")[2].partition("| observation")[0]
    lines = block.replace("\\\n", "").splitlines()
    commands = [line.split("flowguide ", 1)[1] for line in lines if line.strip().startswith("flowguide")]
    assert len(commands) == 3
    for command in commands:
        words = [word for word in shlex.split(command) if not word.startswith(("num=", "solver.steps="))]
        main([*words, "num=2", "solver.steps=3"])
