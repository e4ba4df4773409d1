"""The comparison of a cascade, on tiny runs."""

import csv
import json
from pathlib import Path

import cascade
import pytest
from drawn import is_drawn

from flowguide.cli import main, script

TINY = ["--smoke", "training.steps=1", "device=cpu"]
JUDGE = ["classifier.training.steps=2", "classifier.network.width=4", "classifier.training.batch_size=8"]
FEW = ["num=6", "shown=3", "solver.steps=2", "augmentation=[0,0.2]", "w=[1]", *JUDGE]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for recipe in ("glyphs16_base", "glyphs64_sr", "glyphs64_unet"):
        main(["train", recipe, *TINY, f"run={folder / recipe}"])
    return folder


def words(runs: Path, *more: str) -> list[str]:
    return [str(runs / "glyphs64_sr"), f"first={runs / 'glyphs16_base'}", *FEW, *more]


@pytest.mark.slow
def test_every_row_is_measured_once_and_drawn(runs: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("FLOWGUIDE_CACHE", str(runs / "cache"))
    direct = f"direct={runs / 'glyphs64_unet'}"
    script(cascade.cascade, "analysis/cascade", words(runs, direct), example="x")
    folder = runs / "glyphs64_sr" / "analysis"
    assert is_drawn(folder / "cascade")
    rows = list(csv.DictReader((folder / "cascade.csv").open()))
    assert [(row["what"], float(row["augmentation"] or -1)) for row in rows] == [
        ("cascade", 0),
        ("cascade", 0.2),
        ("direct", -1),
        ("bicubic of the first stage", -1),
        ("real data, as many", -1),
        ("bicubic of real, reduced", -1),
        ("real, reduced, second stage", 0),
        ("real data", -1),
    ]
    about = json.loads((folder / "cascade.json").read_text())
    steps_and_batch = 1 * 4
    assert about["first_training"] == 3 * steps_and_batch * about["first_evaluation"]
    assert "TFLOP to train" in capsys.readouterr().out

    drawn = []
    honest = cascade.Drawn.second
    monkeypatch.setattr(
        cascade.Drawn, "second", lambda self, images, *given: drawn.append(1) or honest(self, images, *given)
    )
    kept = (folder / "points.json").read_text()
    script(cascade.cascade, "analysis/cascade", words(runs, direct), example="x")
    assert (folder / "points.json").read_text() == kept
    assert list(csv.DictReader((folder / "cascade.csv").open())) == rows
    assert len(drawn) == 2  # of the picture, and of no row


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["shown=0"], "shown is how many of num=6 samples, at least 2, are drawn, not 0"),
        (["w=[]"], "w is a list that is not empty"),
        (["batch_size=0"], "batch_size must be an integer of at least 1, not 0"),
        (["augmentation=[0.9]"], "augmentation=0.9 is more than was trained with, which was levels up to 0.5"),
        (["direct=no/where"], "no/where does not exist"),
    ],
)
def test_mistakes(runs: Path, capsys, monkeypatch, more: list[str], sentence: str) -> None:
    monkeypatch.setenv("FLOWGUIDE_CACHE", str(runs / "cache"))
    with pytest.raises(SystemExit):
        script(cascade.cascade, "analysis/cascade", words(runs, *more), example="x")
    assert sentence in capsys.readouterr().err


def test_a_direct_model_of_another_size_is_refused(runs: Path, capsys) -> None:
    direct = f"direct={runs / 'glyphs16_base'}"
    with pytest.raises(SystemExit):
        script(cascade.cascade, "analysis/cascade", words(runs, direct), example="x")
    assert "makes samples of shape [1, 16, 16], and the cascade of [1, 64, 64]" in capsys.readouterr().err
