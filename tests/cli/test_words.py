"""The words of a command line, as hydra wants them."""

from pathlib import Path

import pytest
import yaml
from command_line import TINY, Run

from flowguide.cli.recipes import choices
from flowguide.cli.words import without


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("guidance=null", "~guidance"),
        ("watch=null", "~watch"),
        ("guidance@watch.guidance=null", "~guidance@watch.guidance"),
        ("sigma_data=null", "sigma_data=null"),
        ("guidance=cfg", "guidance=cfg"),
        ("guidance=cfg,null", "guidance=cfg,null"),
        ("guidance.w=null", "guidance.w=null"),
    ],
)
def test_to_choose_null_is_to_choose_nothing(word: str, expected: str) -> None:
    assert without(word, choices()) == expected


def test_a_default_that_is_null_may_be_said(run: Run) -> None:
    """Whatever a recipe says of itself may be said to it."""
    ended = run("train", "moons", *TINY, "source=null", "conditioner=null", "watch=null", "--cfg", "job")
    assert ended.code == 0
    assert not yaml.safe_load(ended.out).get("source")


@pytest.mark.parametrize("word", ["run=", "out=", "run=''", 'out=" "', "+run="])
def test_a_folder_that_is_not_named_is_not_the_current_one(run: Run, word: str, tmp_path: Path) -> None:
    assert f"{word} names no folder" in run("train", "moons", *TINY, word).sentence
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_not_named(moons: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty word, in the folder of a run."""
    assert "out= names no folder" in moons("sample", "runs/moons", "out=").sentence
    monkeypatch.chdir("runs/moons")
    for word in ("", "run=", "run=''"):
        assert moons("sample", word).sentence.startswith("which run?")
