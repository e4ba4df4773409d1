"""``flowguide evaluate``: what it takes, and what it says of what it does not."""

import json
import shlex
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


def test_a_run_without_conditions_is_sampled_and_evaluated(digits: Run) -> None:
    """As it says itself when it is trained; and what it says when it is asked to be guided."""
    ended = digits("train", "digits", *DIGITS, "data.label_key=null", "run=u")
    sample, evaluate = ended.out.partition("next:")[2].strip().split("    or    ")
    assert sample == "flowguide sample u '~guidance'"
    assert digits(*shlex.split(sample)[1:], "num=3", "solver.steps=1").code == 0
    assert digits(*shlex.split(evaluate)[1:], "num=4", "solver.steps=1").code == 0
    found = json.loads(Path("u/evaluation/quality.json").read_text())["rows"]
    assert [(row["rule"], row["w"]) for row in found] == [("unguided", None), ("real data", None)]
    for command in ("sample", "evaluate"):
        assert "take no guidance, on the command line '~guidance'" in digits(command, "u").sentence


def test_without_guidance_conditional_samples_are_evaluated(digits: Run) -> None:
    words = ["evaluate", "d", SMALL, *FEW]
    found = []
    for number, (said, called) in enumerate(
        [("~guidance", ("unguided", None)), ("guidance=null", ("unguided", None)), ("guidance.w=1", ("cfg", 1))]
    ):
        assert digits(*words, said, f"out=out{number}").code == 0
        row, _ = json.loads(Path(f"out{number}/quality.json").read_text())["rows"]
        assert (row.pop("rule"), row.pop("w")) == called
        found.append(row)
    assert found[0] == found[1] == found[2]
    assert "a guidance rule needs a name" in digits(*words, "~guidance", "guidance.w=1").sentence


def test_counts_are_checked_before_anything_is_trained(digits: Run, tmp_path: Path) -> None:
    for size in (0, -1):
        words = [SMALL, *FEW, f"batch_size={size}"]
        assert digits("evaluate", "d", *words).sentence == f"batch_size must be at least 1, not {size}"
        assert digits("sample", "d", f"batch_size={size}").sentence == f"batch_size must be at least 1, not {size}"
    assert not (tmp_path / "cache").exists()
