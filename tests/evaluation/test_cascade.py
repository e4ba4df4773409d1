"""The samples of a cascade, drawn in the batches of a sweep, are those of the cascade; and its rows are its own."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_stages import trained

from flowguide import training
from flowguide.evaluation import EvaluateConfig, evaluate
from flowguide.evaluation.of_cascade import OfCascade
from flowguide.evaluation.sweep import sweep

EULER = {"name": "euler", "steps": 2}
CFG = {"name": "cfg", "w": [1.0, 2.0, 3.0]}
CLASSIFIER = {
    "network": {"name": "convnet", "width": 4},
    "objective": {"name": "classification"},
    "training": {"steps": 2, "batch_size": 4, "warmup": 1},
    "seed": 0,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    folder = tmp_path_factory.mktemp("runs")
    return lambda name: trained(folder, name)


def config(cascade: list[Any], **more: Any) -> EvaluateConfig:
    home = cascade[-1]["run"] if isinstance(cascade[-1], dict) else cascade[-1]
    settings = {"guidance": CFG, "solver": EULER, "metrics": ["frechet_distance", "label_accuracy"], "num": 5}
    settings |= {"run": home, "home": home, "out": ".", "classifier": CLASSIFIER, "device": "cpu", "batch_size": 4}
    return EvaluateConfig.of({**settings, "cascade": cascade, **more})


@pytest.mark.parametrize(
    ("first", "second", "spent"),
    [
        ({}, {}, {1.0: 4, 2.0: 8, 3.0: 8}),
        ({"guidance": {"name": "cfg", "w": 1.5}}, {}, {1.0: 6, 2.0: 8, 3.0: 8}),
        ({}, {"guidance": None, "augmentation": 0.3}, {1.0: 4, 2.0: 6, 3.0: 6}),
        ({"solver": {"name": "heun", "steps": 1}}, {"guidance": {"name": "apg", "w": 2.0}}, {1.0: 6, 2.0: 8, 3.0: 8}),
    ],
    ids=["both have the weight", "the second", "the first", "the first, with a solver of its own"],
)
def test_samples_of_every_weight_are_those_of_the_cascade(
    run: Callable[[str], str], first: dict[str, Any], second: dict[str, Any], spent: dict[float, int]
) -> None:
    """Whichever stages have the weight, in batches that weights share; and each costs what it needs."""
    nodes = [{"run": run("base"), **first}, {"run": run("sr"), **second}]
    asked = config(nodes)
    maker = OfCascade(asked)
    told, index = maker.told(5), torch.arange(5)
    drawing = maker.drawing(7, index, told)
    swept = dict(sweep(maker.weights, maker.build, drawing.draw, index, asked.batch_size))
    assert {w: each.evaluations + drawing.spent for w, each in swept.items()} == spent
    for w, each in swept.items():
        stages = training.load_stages(nodes, {"name": "cfg", "w": w}, EULER, device="cpu")
        expected = training.cascade(stages, 5, torch.arange(5) % 3, seed=7)[-1]
        torch.testing.assert_close(each.samples, expected, rtol=2e-3, atol=2e-3)
    assert not torch.allclose(swept[1.0].samples, swept[3.0].samples, atol=0.05)


def test_a_share_of_the_samples_is_a_share_of_them(run: Callable[[str], str]) -> None:
    nodes = [{"run": run("told"), "guidance": None}, run("told_sr")]
    maker = OfCascade(config(nodes))
    told = maker.told(5)
    whole, share, none = (
        maker.drawing(3, index, told).draw for index in map(torch.tensor, ([0, 1, 2, 3, 4], [3, 4], []))
    )
    staged = maker.build(2.0)
    both = whole(staged, torch.arange(5))
    torch.testing.assert_close(share(staged, torch.tensor([4, 3])), both[[4, 3]], rtol=2e-3, atol=2e-3)
    assert none(staged, torch.tensor([], dtype=torch.int64)).shape == (0, 1, 16, 16)


def test_a_weak_model_is_loaded_once(run: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [run("base"), {"run": run("sr"), "guidance": {"name": "autoguidance", "weak": run("sr"), "w": 3.0}}]
    maker = OfCascade(config(nodes, guidance={"name": "cfg", "w": [2.0]}))
    monkeypatch.setattr("flowguide.training.models.load", lambda *given: pytest.fail("it is loaded again"))
    drawing = maker.drawing(0, torch.arange(2), maker.told(2))
    drawn = drawing.draw(maker.build(2.0), torch.arange(2))
    stages = training.load_stages([run("base"), run("sr")], None, EULER, device="cpu")
    stages[0] = training.Stage(stages[0].model, stages[0].solver, {"name": "cfg", "w": 2.0})
    expected = training.cascade(stages, 2, torch.arange(2))[-1]  # away from itself it is itself
    torch.testing.assert_close(drawn, expected, rtol=2e-3, atol=2e-3)


def test_rows_say_what_they_are_of_and_are_kept_by_it(run: Callable[[str], str], tmp_path: Path) -> None:
    both = [run("told"), run("told_sr")]

    def rows(nodes: list[Any], **more: Any) -> list[dict[str, Any]]:
        return evaluate(config(nodes, **{"guidance": {"name": "cfg", "w": [2.0]}, **more}), tmp_path, show=False)

    (row, real) = rows(both)
    assert (row["cascade"], row["augmentation"]) == (f"{both[0]} > {both[1]}", 0.1)
    assert (row["rule"], row["w"], row["solver"], row["num"], row["evaluations"]) == ("cfg", 2.0, "euler 2", 5, 8)
    assert (real["rule"], real["cascade"], real["augmentation"]) == ("real data", None, None)
    assert row["frechet_distance"] > 0
    points = json.loads((tmp_path / "points.json").read_text())
    assert rows(both)[0] == row
    assert json.loads((tmp_path / "points.json").read_text()) == points
    unguided = [both[0], {"run": both[1], "guidance": None, "solver": {"name": "heun", "steps": 1}}]
    others = [
        rows(both, augmentation=0.3)[0],
        rows(unguided)[0],
        rows([{"run": each, "guidance": {"name": "cfg", "w": 2.0}} for each in both], guidance=None)[0],
        evaluate(replace(config(both, guidance={"name": "cfg", "w": [2.0]}), cascade=None), tmp_path, show=False)[0],
    ]
    assert [other.get("augmentation") for other in others] == [0.3, 0.1, 0.1, None]
    assert (others[1]["cascade"], others[1]["solver"]) == (f"{both[0]} > {both[1]} unguided", "euler 2, heun 1")
    assert [(other["rule"], other["w"]) for other in others[1:3]] == [("cfg", 2.0), ("each its own", None)]
    assert others[2]["cascade"] == f"{both[0]} cfg 2.0 > {both[1]} cfg 2.0"
    assert others[2]["frechet_distance"] == pytest.approx(row["frechet_distance"], rel=1e-3)
    assert "cascade" not in others[3]
    assert len(json.loads((tmp_path / "points.json").read_text())) == 5


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metrics": ["bits_per_dim"]}, "'bits_per_dim' is of data under their labels, and this run is told 'low_res"),
        ({"augmentation": 0.8}, "augmentation=0.8 is more than was trained with, which was levels up to 0.5"),
        ({"guidance": {"name": "smc", "w": 2.0}}, "here each has an image of its own: take cfg"),
        (
            {"reference": {"name": "moons"}},
            "at another resolution: it holds samples of 2, and the cascade makes 1x16x16",
        ),
    ],
)
def test_mistakes(run: Callable[[str], str], tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        evaluate(config([run("base"), run("sr")], **changes), tmp_path, show=False)
    each = [{"run": run("base"), "guidance": None}, {"run": run("sr"), "guidance": None}]
    with pytest.raises(ValueError, match=r"every stage of this cascade says its own guidance, and none is left"):
        OfCascade(config(each))
    assert not (tmp_path / "points.json").exists()
