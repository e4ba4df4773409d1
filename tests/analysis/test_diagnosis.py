"""The scripts that measure what guidance does to a field: on tiny runs and exact toys."""

import csv
import json
import math
from pathlib import Path

import conservative_training
import conservativeness
import pytest
import tilted_target
import torch
import vector_fields
from drawn import SMALL, is_drawn

from flowguide.cli import main, script

POINTS = ["network.width=16", "training.batch_size=64", "training.steps=60", "data.count=300", "device=cpu"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    some = [word.replace("steps=2", "steps=40") for word in SMALL]  # a network that starts at zero has to have moved
    main(["train", "digits", *some, "training.ema=0.5", f"run={folder / 'digits'}"])
    main(["train", "moons", *POINTS, f"run={folder / 'moons'}"])
    return folder


@pytest.mark.parametrize("name", ["digits", "moons"])
def test_conservativeness(runs: Path, name: str) -> None:
    """A network is not conservative, an exact field is to rounding; a row per weight and time."""
    words = [str(runs / name), "guidance.w=[0,3]", "times=[0.3,0.7]", "num=4", "probes=1"]
    script(conservativeness.conservativeness, "analysis/conservativeness", words, example="x")
    assert is_drawn(runs / name / "analysis" / "conservativeness")
    result = json.loads((runs / name / "analysis" / "conservativeness.json").read_text())
    rows = result["rows"]
    assert [(row["w"], row["t"]) for row in rows] == [(w, t) for w in (0, 3, "infinity") for t in (0.3, 0.7)]
    assert all(0 <= row["asymmetry"] <= 2 and row["exact"] < 1e-3 for row in rows)
    assert all(row["nasym"] == pytest.approx(row["asymmetry"] ** 2 / 4) for row in rows)
    assert max(row["asymmetry"] for row in rows) > 10 * max(row["exact"] for row in rows)
    assert len(list(csv.DictReader((runs / name / "analysis" / "conservativeness.csv").open()))) == 6


def test_conservativeness_of_a_rule(runs: Path) -> None:
    words = [str(runs / "moons"), "guidance=rescale", "guidance.w=2", "implicit=false", "times=[0.5]", "num=4"]
    script(conservativeness.conservativeness, "analysis/conservativeness", words, example="x")
    rows = json.loads((runs / "moons" / "analysis" / "conservativeness.json").read_text())["rows"]
    assert len(rows) == 1


def test_the_fitted_field_has_the_moments_of_the_classes(runs: Path) -> None:
    from flowguide import data

    train = data.build("moons", count=500)
    mixture = conservativeness.fitted(train)
    drawn, _ = mixture.sample(20000, cond=torch.zeros(20000, dtype=torch.long))
    assert (drawn.mean(0) - train.data[train.labels == 0].mean(0)).abs().max() < 0.05


@pytest.mark.slow
def test_vector_fields_of_an_exact_toy_and_of_a_network(runs: Path, tmp_path: Path) -> None:
    for words, exact in (([], True), ([f"run={runs / 'moons'}"], False)):
        out = tmp_path / str(exact)
        words = [*words, f"out={out}", "cells=16", "times=[0.4,0.8]", "num=20", "kind=score"]
        script(vector_fields.vector_fields, "analysis/vector_fields", words)
        assert is_drawn(out / "vector_fields")
        rows = json.loads((out / "vector_fields.json").read_text())["rows"]
        assert [(row["t"], row["field"], row["w"]) for row in rows[:3]] == [
            (0.4, "unconditional", 0),
            (0.4, "conditional", 1),
            (0.4, "guided", 3),
        ]
        for number in ("share", "asymmetry"):
            values = [row[number] for row in rows]
            assert all(math.isfinite(value) for value in values)
            assert max(values) < 1e-6 if exact else max(values) > 1e-5


def test_tilted_target(tmp_path: Path) -> None:
    words = [f"out={tmp_path}", "w=[1,3]", "rules=[cfg,characteristic]", "num=400", "solver.steps=20", "toy.std=0.5"]
    script(tilted_target.tilted_target, "analysis/tilted_target", words)
    assert is_drawn(tmp_path / "tilted_target")
    rows = json.loads((tmp_path / "tilted_target.json").read_text())["rows"]
    at = {(row["rule"], row["w"]): row for row in rows}
    assert len(at) == len(list(csv.DictReader((tmp_path / "tilted_target.csv").open()))) == 4
    assert at["cfg", 1]["distance"] < 3 * at["cfg", 1]["floor"]
    assert at["cfg", 3]["distance"] > 3 * at["cfg", 3]["floor"], "cfg does not sample the tilted density"
    assert at["characteristic", 3]["distance"] < at["cfg", 3]["distance"] / 2


def test_tilted_target_of_a_network_whose_data_have_a_known_law(runs: Path, tmp_path: Path) -> None:
    words = ["data=eight_gaussians", *POINTS, f"run={runs / 'eight'}"]
    main(["train", "moons", *words])
    words = [f"run={runs / 'eight'}", f"out={tmp_path}", "w=[2]", "rules=[cfg]", "num=200", "solver.steps=5"]
    script(tilted_target.tilted_target, "analysis/tilted_target", words)
    (row,) = json.loads((tmp_path / "tilted_target.json").read_text())["rows"]
    assert row["distance"] > row["floor"]


def test_conservative_training(runs: Path, tmp_path: Path) -> None:
    """An energy's field is conservative, another network's is not."""
    main(["train", "moons", "network=energy_mlp", "network.network.width=16", *POINTS[1:], f"run={runs / 'energy'}"])
    words = [f"runs=[{runs / 'moons'},{runs / 'energy'}]", f"out={tmp_path}", "guidance.w=[1,3]", "shown=[1]"]
    words += ["times=[0.3,0.7]", "states=50", "num=100", "solver.steps=4"]
    script(conservative_training.conservative_training, "analysis/conservative_training", words)
    assert is_drawn(tmp_path / "conservative_training")
    result = json.loads((tmp_path / "conservative_training.json").read_text())
    free, energy = result["summary"]
    assert (free["run"], energy["run"]) == ("moons", "energy")
    assert energy["asymmetry_w1"] < 1e-5 < free["asymmetry_w1"]
    assert free["parameters"] == energy["parameters"]
    assert all(math.isfinite(row[key]) for row in (free, energy) for key in ("nll", "nll_error", "best_distance"))
    assert [(row["run"], row["w"]) for row in result["distance"]] == [
        (r, w) for r in ("moons", "energy") for w in (1, 3)
    ]


@pytest.mark.slow
def test_conservative_training_of_images(runs: Path, tmp_path: Path) -> None:
    words = [f"runs=[{runs / 'digits'}]", f"out={tmp_path}", "guidance.w=1", "shown=[2]", "times=[0.5]", "states=4"]
    words += ["num=20", "seeds=[0]", "solver.steps=2", "classifier.training.steps=20", "classifier.network.width=4"]
    script(conservative_training.conservative_training, "analysis/conservative_training", words)
    (row,) = json.loads((tmp_path / "conservative_training.json").read_text())["summary"]
    assert 0 < row["nll"] < 20, "bits per dimension"


@pytest.mark.parametrize(
    ("task", "name", "words", "expected"),
    [
        (conservativeness.conservativeness, "conservativeness", [], "which run?"),
        (conservativeness.conservativeness, "conservativeness", ["{moons}", "times=[2]"], "times in [0, 1]"),
        (conservativeness.conservativeness, "conservativeness", ["{moons}", "num=1"], "num must be an integer of at"),
        (conservativeness.conservativeness, "conservativeness", ["{moons}", "kind=dta"], "did you mean 'data'"),
        (conservativeness.conservativeness, "conservativeness", ["{moons}", "probes=0"], "probes must be at least 1"),
        (vector_fields.vector_fields, "vector_fields", ["cond=7"], "label 7 is not one of the 3 classes"),
        (vector_fields.vector_fields, "vector_fields", ["run={digits}"], "labelled points in the plane"),
        (vector_fields.vector_fields, "vector_fields", ["guidance.w=[1,2]"], "guidance.w is one weight here"),
        (vector_fields.vector_fields, "vector_fields", ["cells=2"], "cells must be at least 4"),
        (vector_fields.vector_fields, "vector_fields", ["run=no/where"], "no/where"),
        (conservative_training.conservative_training, "conservative_training", ["runs=[]"], "a list of run folders"),
        (conservative_training.conservative_training, "conservative_training", ["runs=[no/where]"], "no/where"),
        (conservative_training.conservative_training, "conservative_training", ["runs=[{moons}]", "shown=[]"], "shown"),
        (
            conservative_training.conservative_training,
            "conservative_training",
            ["runs=[{moons}]", "states=1"],
            "states",
        ),
        (
            conservative_training.conservative_training,
            "conservative_training",
            ["runs=[{moons},{digits}]", "times=[0.5]", "shown=[1]", "states=2", "num=4", "guidance.w=1"],
            "the runs must be of one data set",
        ),
        (tilted_target.tilted_target, "tilted_target", ["num=5"], "num must be an integer of at least 100"),
        (tilted_target.tilted_target, "tilted_target", ["rules=[cgf]"], "did you mean 'cfg'"),
        (tilted_target.tilted_target, "tilted_target", ["rules=[feedback]"], "feedback has no weight"),
        (tilted_target.tilted_target, "tilted_target", ["w=[]"], "must be a number or a list of numbers"),
        (tilted_target.tilted_target, "tilted_target", ["run={moons}"], "whose law is not known"),
        (tilted_target.tilted_target, "tilted_target", ["cond=9"], "label 9 is not one of the 3 classes"),
    ],
)
def test_mistakes(runs: Path, tmp_path, monkeypatch, capsys, task, name: str, words: list[str], expected: str) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word.format(digits=runs / "digits", moons=runs / "moons") for word in words]
    with pytest.raises(SystemExit) as end:
        script(task, f"analysis/{name}", words, example="x" if name == "conservativeness" else None)
    assert end.value.code == 2
    assert expected in capsys.readouterr().err
