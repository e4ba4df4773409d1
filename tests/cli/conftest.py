"""The command line, run in this process, in a folder of its own."""

from pathlib import Path

import pytest
from command_line import TINY, Ended, Run

from flowguide.cli import main


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Ended:
        code = 0
        capsys.readouterr()
        try:
            main(list(words))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    return call


@pytest.fixture
def moons(run: Run) -> Run:
    """The same, with a tiny trained run in runs/moons."""
    assert run("train", "moons", *TINY).code == 0
    return run
