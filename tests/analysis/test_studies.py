"""The studies of label dropout and of low temperatures, on tiny runs."""

import json
from pathlib import Path

import label_dropout
import pytest
import truncation
from drawn import SMALL, is_drawn
from quality_curves import bests

from flowguide.cli import main, script

JUDGE = ["classifier.training.steps=20", "classifier.network.width=4"]
TINY = ["num=20", "seeds=[0]", "solver.steps=2", *JUDGE]


@pytest.mark.slow
def test_label_dropout_trains_what_is_missing_and_nothing_twice(tmp_path: Path, capfd) -> None:
    run = tmp_path / "study"
    main(["train", "digits", *SMALL, "objective.label_dropout=0.5", f"run={run}/mine"])
    before = (run / "mine" / "environment.json").read_bytes()
    words = [f"run={run}", "label_dropout=[0.1,0.5]", "trained=[0]", f"words={json.dumps(SMALL)}", "guidance.w=[1,3]"]
    script(label_dropout.label_dropout, "analysis/label_dropout", [*words, *TINY])
    assert "flowguide train digits --multirun objective.label_dropout=0.1 seed=0" in capfd.readouterr().out
    assert (run / "mine" / "environment.json").read_bytes() == before
    assert is_drawn(run / "analysis" / "label_dropout")
    rows = json.loads((run / "analysis" / "label_dropout.json").read_text())["rows"]
    assert [(row["label_dropout"], row["trained"], row["w"]) for row in rows] == [
        (0.1, 0, 1.0), (0.1, 0, 3.0), (0.5, 0, 1.0), (0.5, 0, 3.0), (None, None, None),
    ]  # fmt: skip
    assert rows[0]["frechet_distance"] != rows[2]["frechet_distance"]


def test_runs_are_compared_one_by_one() -> None:
    """Two runs and two seeds of each: the gain is the mean of four differences."""
    values = {("a", 0, 0): 1.0, ("a", 0, 1): 2.0, ("a", 1, 0): 3.0, ("a", 1, 1): 4.0,
              ("b", 0, 0): 2.0, ("b", 0, 1): 2.5, ("b", 1, 0): 3.0, ("b", 1, 1): 6.0}  # fmt: skip
    rows = [
        {"rule": rule, "trained": trained, "seed": seed, "w": 1.0, "frechet_distance": value, "evaluations": 1.0}
        for (rule, trained, seed), value in values.items()
    ]
    _, second = bests(rows, ["frechet_distance"])
    assert second["gain"] == pytest.approx(-(1.0 + 0.5 + 0.0 + 2.0) / 4)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("label_dropout=[0.1,1.5]", "label_dropout is a list of probabilities between 0 and 1"),
        ("trained=[]", "trained is a list of seeds"),
        ("recipe=digitz", "training stopped"),
    ],
)
def test_label_dropout_says_what_is_wrong(tmp_path: Path, words: str, sentence: str, capsys) -> None:
    with pytest.raises(SystemExit):
        script(label_dropout.label_dropout, "analysis/label_dropout", [f"run={tmp_path}/study", words])
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_truncation(tmp_path: Path, capsys) -> None:
    run = tmp_path / "digits"
    main(["train", "digits", *SMALL, f"run={run}"])
    families = "families={guidance: [1, 2], start: [1, 0.5], noise: [0.9], score: [1.5]}"
    script(truncation.truncation, "analysis/truncation", [str(run), families, "sde.steps=2", *TINY], example="x")
    assert is_drawn(run / "analysis" / "truncation")
    rows = json.loads((run / "analysis" / "truncation.json").read_text())["rows"]
    assert [(row["family"], row["value"], row["w"]) for row in rows] == [
        ("guidance", 1, 1), ("guidance", 2, 2), ("start", 1, 1), ("start", 0.5, 1), ("noise", 0.9, 1),
        ("score", 1.5, 1), (None, None, None),
    ]  # fmt: skip
    first = {(row["family"], row["value"]): row["frechet_distance"] for row in rows}
    assert first["guidance", 1] == first["start", 1]
    assert len(set(first.values())) == 6
    for words, sentence in {
        "families={guidence: [1]}": "did you mean",
        "families={start: [-1]}": "temperature is a factor of at least 0",
        "families={noise: [-1]}": "noise_scale is a factor of at least 0",
    }.items():
        with pytest.raises(SystemExit):
            script(truncation.truncation, "analysis/truncation", [str(run), words, *TINY], example="x")
        assert sentence in capsys.readouterr().err
