"""analysis/held_out_captions.py on a tiny run, with the encoder that needs no library."""

import csv
import json
from pathlib import Path

import held_out_captions
import pytest
import torch
from drawn import is_drawn

import flowguide as fg
from flowguide.cli import main, script

TINY = [
    *("data.letters=ABC", "data.count=60", "data.test_count=60", "data.colours=[red,green]", "data.hold_out=0.3"),
    *("conditioner.encoder=words", "network.width=8", "network.head_width=8", "device=cpu", "training.log=none"),
    *("training.steps=2", "training.batch_size=8"),
]
FAST = ["guidance.w=[1,3]", "num=5", "shown=2", "solver.steps=2", "classifier.training.steps=2"]
FAST += ["classifier.network.width=4", "classifier.training.batch_size=8", "device=cpu"]


def measure(run: Path, *words: str) -> None:
    script(held_out_captions.held_out_captions, "analysis/held_out_captions", [str(run), *FAST, *words], example="x")


def test_held_out_pairs_beside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "captions"
    main(["train", "glyphs_text_cpu", *TINY, f"run={run}"])
    measure(run)
    file = run / "analysis" / "held_out_captions"
    assert is_drawn(file)
    rows = list(csv.DictReader(file.with_suffix(".csv").open()))
    assert [(row["w"], row["pairs"]) for row in rows] == [
        *((w, pairs) for w in ("1.0", "3.0", "") for pairs in ("common", "held out")),
    ]
    assert all(0 <= float(row["both"]) <= min(float(row["character"]), float(row["colour"])) <= 1 for row in rows)
    result = json.loads(file.with_suffix(".json").read_text())
    assert len(result["rows"]) == 6
    monkeypatch.setattr(held_out_captions, "_right", lambda *given: {"character": 0.0, "colour": 0.0, "both": 0.0})
    measure(run)  # what was measured is not measured again, but for the real data
    again = json.loads(file.with_suffix(".json").read_text())["rows"]
    assert again[:4] == result["rows"][:4]


def test_captions_are_of_the_pairs_that_were_asked_for() -> None:
    test = fg.data.build("glyphs", split="test", letters="ABC", test_count=60, size=8, hold_out=0.2)
    chosen = held_out_captions._chosen(test, "held out", 100, "x")
    assert len(chosen) == 100
    assert test.attributes["pair"].values[chosen].unique().tolist() == [1]
    one = held_out_captions._one_of_each(test, chosen)
    pairs = torch.stack([test.attributes[what].values[one] for what in ("character", "colour")], 1)
    assert len(pairs.unique(dim=0)) == len(one) <= 5


def test_a_run_that_holds_nothing_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "captions"
    main(["train", "glyphs_text_cpu", *TINY, "data.hold_out=0", f"run={run}"])
    with pytest.raises(SystemExit):
        measure(run)
    assert "has no pair that is held out: train with data.hold_out=0.1" in capsys.readouterr().err
