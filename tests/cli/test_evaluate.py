"""``flowguide evaluate``: what it takes, and what it says of what it does not."""

import json
from pathlib import Path

import numpy
import pytest
from command_line import Run

DIGITS = ["data=array", "data.file=d.npz", "network.width=8", "network.head_width=8", "device=cpu"]
DIGITS += ["training.batch_size=8", "training.steps=1", "run=d"]
FEW = ["num=4", "solver.steps=1", "classifier.network.width=4", "classifier.training.steps=1"]
SMALL = "classifier.training.batch_size=8"


@pytest.fixture
def digits(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line, with a tiny run of 60 labelled images of noise in the folder d."""
    monkeypatch.setenv("FLOWGUIDE_CACHE", str(tmp_path / "cache"))
    data = numpy.random.default_rng(0).uniform(-1, 1, (60, 1, 8, 8)).astype("float32")
    numpy.savez("d.npz", data=data, labels=numpy.arange(60) % 3)
    assert run("train", "digits", *DIGITS).code == 0
    return run


def rows() -> list[dict]:
    return json.loads(Path("d/evaluation/quality.json").read_text())["rows"]


def test_settings_of_the_classifier_are_named_in_full(digits: Run) -> None:
    words = ["evaluate", "d", "guidance.w=1", *FEW]
    assert digits(*words).sentence.startswith("classifier.training.batch_size=128 is more than the 54 samples of")
    for word, sentence in {
        "classifier.training.batch_size=0": "classifier.training.batch_size must be at least 1, not 0",
        "classifier.training.steps=x": "the classifier of array (train): option 'steps' of training must be an integer",
    }.items():
        assert digits(*words, word).sentence.startswith(sentence)
    assert digits(*words, SMALL).code == 0
    assert rows()[0]["reference_num"] == 54


def test_a_rule_without_a_weight_is_evaluated_once(digits: Run) -> None:
    words = ["evaluate", "d", "guidance=feedback", "solver=ddim", SMALL, *FEW]
    assert digits(*words).code == 0
    assert [(row["rule"], row["w"]) for row in rows()] == [("feedback", None), ("real data", None)]
    assert "unknown option of guidance rule 'feedback': 'w'" in digits(*words, "guidance.w=2").sentence
    assert digits("evaluate", "d", SMALL, *FEW).code == 0
    assert [row["w"] for row in rows()] == [0, 0.5, 1, 1.5, 2, 3, 5, 8, None]
