"""Evaluation of runs of points, whose features are the data; and what every row says."""

import json
from pathlib import Path

import pytest
import torch
from command_line import TINY

from flowguide.cli import main

WORDS = ["features=identity", "metrics=[sliced_wasserstein,mmd,memorisation,frechet_distance]", "num=200"]


@pytest.fixture
def moons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWGUIDE_CACHE", str(tmp_path / "cache"))
    main(["train", "moons", *TINY, "data.count=300"])
    return tmp_path / "runs" / "moons"


def test_points_are_evaluated(moons: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The real data are nearer to themselves than an untrained model's samples are."""
    main(["evaluate", "runs/moons", *WORDS, "guidance.w=[1,2]", "solver.steps=2"])
    assert "solver: auto 2; features: the data themselves; resizing: none." in capsys.readouterr().out
    *rows, real = json.loads((moons / "evaluation" / "quality.json").read_text())["rows"]
    assert [row["w"] for row in rows] == [1, 2]
    for row in (*rows, real):
        assert row["features"] == "the data themselves"
        assert row["resize"] == "none"
        assert row["reference"] == "training data"
        assert row["reference_num"] == 300
    assert [row["num"] for row in (*rows, real)] == [200, 200, 300]
    assert [(row["rule"], row["solver"]) for row in (*rows, real)] == [("cfg", "auto 2")] * 2 + [("real data", None)]
    assert real["sliced_wasserstein"] < rows[0]["sliced_wasserstein"]
    assert real["memorisation"] == 0.5


def test_another_reference(moons: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(
        ["evaluate", "runs/moons", *WORDS, "guidance.w=[1]", "solver.steps=2", "reference={name: spirals, count: 100}"]
    )
    assert "training data of spirals (100 samples)" in capsys.readouterr().out


def test_a_point_is_of_what_a_file_of_observations_holds_now(moons: Path) -> None:
    import numpy

    words = ["evaluate", "runs/moons", *WORDS, "guidance=pigdm", "guidance.observation=mask", "guidance.observed=y.npy"]
    found = []
    for value in (0.5, 0.5, -0.5):
        numpy.save("y.npy", numpy.full((2,), value, dtype=numpy.float32))
        main([*words, "guidance.w=1", "solver.steps=2"])
        found.append(json.loads((moons / "evaluation" / "quality.json").read_text())["rows"][0]["frechet_distance"])
    assert found[0] == found[1] != found[2]
    assert len(json.loads((moons / "evaluation" / "points.json").read_text())) == 2


def test_samples_that_are_not_finite_are_named(moons: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    import flowguide as fg

    monkeypatch.setattr(fg.solvers, "sample", lambda field, shape, *a, **k: torch.full(shape, torch.nan))
    with pytest.raises(SystemExit):
        main(["evaluate", "runs/moons", *WORDS, "guidance.w=[1]"])
    assert "200 of 200 samples hold infinite or NaN numbers" in capsys.readouterr().err


def test_bits_of_what_has_none(moons: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "runs/moons", "features=identity", "metrics=[bits_per_dim]"])
    assert "'bits_per_dim' is of data that take few values, as images do, and moons (test)" in capsys.readouterr().err


def test_every_sentence_about_bits() -> None:
    from flowguide import data, metrics
    from flowguide.evaluation.checks import check_bits
    from flowguide.training import TrainConfig

    measures = {"bits_per_dim": metrics.build("bits_per_dim")}
    digits = data.build("digits", split="test")
    plain = {"data": {"name": "digits"}, "network": {}, "objective": {}, "training": {"steps": 1}, "shape": [1, 8, 8]}
    check_bits(measures, digits, TrainConfig(**plain))
    check_bits({}, digits, TrainConfig(**{**plain, "shape": [2]}))
    for changes, sentence in (
        ({"shape": [4, 4, 4]}, "this run's is of their latents"),
        ({"conditioner": {"name": "text"}}, "this run is told 'text'"),
        ({"source": {"name": "moons"}}, "this one starts from 'moons'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            check_bits(measures, digits, TrainConfig(**{**plain, **changes}))
