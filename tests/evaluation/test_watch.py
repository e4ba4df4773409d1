"""A run that is watched: the same run, with pictures, numbers and the best model beside it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_runs import final, recipe, same, stop_after

import flowguide as fg
from flowguide import training
from flowguide.evaluation import WatchConfig, watcher
from flowguide.training.logs import Nowhere

JUDGE = {
    "network": {"name": "convnet", "width": 8},
    "objective": {"name": "classification"},
    "training": {"steps": 30, "batch_size": 64, "ema": 0.9},
    "seed": 0,
}


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWGUIDE_CACHE", str(tmp_path_factory.getbasetemp() / "judges"))


def watched(**changes: Any) -> dict[str, Any]:
    node = {
        "every": 20, "num": 40, "shown": 20, "metrics": ["frechet_distance", "label_accuracy"], "classifier": JUDGE,
        "guidance": {"name": "cfg", "w": 1.5}, "solver": {"name": "euler", "steps": 2},
    }  # fmt: skip
    return {**node, **changes}


NETWORK = {
    "name": "unet", "channels": 1, "num_classes": 10, "width": 8, "multipliers": [1, 2], "blocks": 1, "head_width": 8,
    "attention": [1],
}  # fmt: skip


def digits(**more: Any) -> dict[str, Any]:
    settings = recipe(data={"name": "digits"}, network=NETWORK, training__save_every=20, training__steps=50)
    settings["training"] |= {"decay": "constant", "learning_rate": 5e-3}
    return {**settings, **more}


def run(settings: dict[str, Any], folder: Path) -> torch.nn.Module:
    return training.train(settings, folder, False, watcher(settings.get("watch"), show=False))


def test_a_watched_run_is_the_same_run(tmp_path: Path) -> None:
    run(digits(), tmp_path / "alone")
    run(digits(watch=watched()), tmp_path / "watched")
    assert same(final(tmp_path / "alone"), final(tmp_path / "watched"))
    pictures = sorted(file.name for file in (tmp_path / "watched" / "watch").glob("*.png"))
    assert pictures == ["step-00000020.png", "step-00000040.png", "step-00000050.png"]
    with Image.open(tmp_path / "watched" / "watch" / pictures[-1]) as picture:
        assert picture.width == 8 * (10 * 9 + 1), "ten labels in a row"


def test_the_best_model_is_kept_and_loaded_as_any(tmp_path: Path) -> None:
    trained = run(digits(watch=watched()), tmp_path)
    look = watcher(watched(), show=False)(fg.load(tmp_path).config, training.RunFolder(tmp_path))
    rows = look.rows()
    assert list(rows) == [20, 40, 50]
    distances = {step: row["frechet_distance"] for step, row in rows.items()}
    best = fg.training.read_meta(tmp_path / "best.safetensors")
    assert best["step"] == min(distances, key=distances.get)
    assert best["watched"] == rows[best["step"]]
    loaded = fg.load(tmp_path / "best.safetensors")
    assert same(loaded.state_dict(), trained.state_dict()) == (best["step"] == 50)
    assert fg.sample(loaded, (2, 1, 8, 8), torch.tensor([1, 2])).isfinite().all()


def test_a_run_that_goes_on_has_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(digits(watch=watched()), tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 33)
        with pytest.raises(training.Interrupted):
            run(digits(watch=watched()), tmp_path / "parts")
    run(digits(watch=watched()), tmp_path / "parts")
    assert (tmp_path / "whole/watch/rows.json").read_text() == (tmp_path / "parts/watch/rows.json").read_text()
    best = [fg.training.read_meta(tmp_path / name / "best.safetensors")["step"] for name in ("whole", "parts")]
    assert best[0] == best[1]


def test_points_are_drawn_and_watching_may_begin_later(tmp_path: Path) -> None:
    run(recipe(training__steps=20), tmp_path)
    run(recipe(watch={"solver": {"name": "euler", "steps": 2}, "every": 15}), tmp_path)
    assert [file.name for file in sorted((tmp_path / "watch").iterdir())] == ["step-00000030.png", "step-00000040.png"]
    assert not (tmp_path / "best.safetensors").exists()


def test_what_cannot_be_written_costs_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flowguide.drawing.save_images", full)
    monkeypatch.setattr("flowguide.evaluation.watch.checkpoint.write", full)
    node = watched(every=50)
    config = training.TrainConfig.of(digits(watch=node, shape=[1, 8, 8]))
    look = watcher(node, show=False)(config, training.RunFolder(tmp_path))
    model = training.build_model(config).eval()
    look(50, model, Nowhere())
    assert caplog.text.count("No space left on device; the run goes on") == 2
    assert look.rows() == {}


@pytest.mark.parametrize(
    ("guidance", "w"), [({"name": "cfg", "w": None}, 2.5), ({"name": "cfg", "w": 0.5}, 0.5), ({"name": "cfg"}, 2.5)]
)
def test_a_weight_of_the_recipe_is_for_rules_that_have_one(guidance: dict, w: float, tmp_path: Path) -> None:
    run(recipe(training__steps=1), tmp_path)
    model = fg.load(tmp_path, device="cpu")
    node = {"solver": {"name": "euler"}, "weight": 2.5}
    rule = watcher({**node, "guidance": guidance})(model.config, training.RunFolder(tmp_path)).rule(model)[1]
    assert rule.w == w
    for name in ("feedback", "repaint"):
        more = {"observation": "mask", "observed": 0.3} if name == "repaint" else {}
        other = {**node, "guidance": {"name": name, "w": None, **more}}
        assert watcher(other)(model.config, training.RunFolder(tmp_path)).rule(model)[1].name == name


def test_a_run_that_is_told_no_labels_is_watched_without(tmp_path: Path) -> None:
    node = watched(guidance=None, every=50)
    unlabelled = digits(objective={"name": "cfm", "label_dropout": 1.0}, watch=node)
    with pytest.raises(ValueError, match=r"watch.metrics: label_accuracy needs labels, .* have none: leave it out"):
        run(unlabelled, tmp_path)
    assert not list(tmp_path.rglob("*.safetensors")), "before the first step"
    node["metrics"] = ["frechet_distance"]
    run(unlabelled, tmp_path)
    look = watcher(node, show=False)(fg.load(tmp_path).config, training.RunFolder(tmp_path))
    assert list(look.rows()) == [50]


def test_says_what_is_wrong(tmp_path: Path) -> None:
    solver = {"name": "euler"}
    for more, words in (
        ({"every": 0}, "watch.every must be at least 1, not 0"),
        ({"num": 1}, "watch.num must be at least 2, not 1"),
        ({"metrics": ["frechet_distance"]}, "watch.metrics need watch.classifier"),
        ({"seed": -1}, "a seed must be an integer"),
    ):
        with pytest.raises(ValueError, match=words):
            WatchConfig(solver=solver, **more)
    with pytest.raises(ValueError, match="unknown option of watch: 'evry'; did you mean 'every'"):
        watcher({"solver": solver, "evry": 3})
    classifies = {**digits(), **JUDGE, "path": None, "watch": {"solver": solver}}
    for dropout in (0.0, 1.0):
        never = digits(watch=watched(), objective={"name": "cfm", "label_dropout": dropout})
        with pytest.raises(ValueError, match=r"watch.guidance: cfg needs a field .*; watch.guidance=null looks"):
            run(never, tmp_path / f"dropout_{dropout}")
        assert not list((tmp_path / f"dropout_{dropout}").rglob("*.safetensors")), "before the first step"
    with pytest.raises(ValueError, match="watch looks at samples, and a classifier has none"):
        run(classifies, tmp_path / "a")
    with pytest.raises(ValueError, match="unknown metric 'fid'"):
        run(digits(watch=watched(metrics=["fid"])), tmp_path / "b")
    with pytest.raises(ValueError, match="features are of labelled images"):
        run(recipe(watch=watched()), tmp_path / "c")
    assert watcher(None) is None
