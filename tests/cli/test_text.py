"""Runs that are told captions or attributes, on the command line, with the encoder that needs no library."""

import json
from pathlib import Path

import pytest
import torch
from command_line import Run
from safetensors.torch import load_file
from torch.testing import assert_close

import flowguide as fg

TINY = [
    *("data=glyphs", "data.size=16", "data.count=40", "data.test_count=8", "data.letters=AB", "network=unet"),
    *("network.width=8", "network.multipliers=[1,2]", "network.blocks=1", "network.attention=[1]", "device=cpu"),
    *("network.head_width=8", "training.steps=3", "training.batch_size=8", "training.log=none"),
]
WORDS = ["conditioner=text", "conditioner.encoder=words", "conditioner.max_length=12"]
FAST = ["num=4", "solver.steps=2", "guidance.w=2"]


@pytest.fixture
def captioned(run: Run) -> Path:
    ended = run("train", "moons", *TINY, *WORDS, "run=runs/captions")
    assert ended.code == 0, ended
    return Path("runs/captions")


def drawn(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = (folder / "samples").glob("*.safetensors")
    tensors = load_file(file)
    file.unlink()
    return tensors


def test_captions_are_asked_for(run: Run, captioned: Path) -> None:
    assert run("sample", str(captioned), *FAST, "cond=a red letter B in serif").code == 0
    one = drawn(captioned)
    assert one["conditions"].shape == (4, 64)
    model = fg.load(captioned)
    assert_close(one["conditions"], model.conditions("a red letter B in serif", 4))
    assert run("sample", str(captioned), *FAST, "cond=['a red B','a blue A','a','b']").code == 0
    assert len(drawn(captioned)["conditions"].unique(dim=0)) == 4
    assert run("sample", str(captioned), *FAST).code == 0
    held_out = fg.data.build("glyphs", split="test", size=16, test_count=8, letters="AB").captions[:4]
    assert_close(drawn(captioned)["conditions"], model.conditions(list(held_out), 4))
    assert "told captions" in run("sample", str(captioned), *FAST, "cond=3").sentence
    assert "cond lists 2 captions for num=4" in run("sample", str(captioned), *FAST, "cond=[a,b]").sentence


def test_negative_and_several_captions(run: Run, captioned: Path) -> None:
    asked = [str(captioned), *FAST, "cond=a red letter A", "batch_size=3"]
    assert run("sample", *asked).code == 0
    plain = drawn(captioned)["data"]
    assert run("sample", *asked, "guidance=negative", "guidance.negative=a blurry letter").code == 0
    away = drawn(captioned)["data"]
    assert run("sample", *asked, "guidance=multi", "guidance.labels=['a letter B','a red A']").code == 0
    several = drawn(captioned)["data"]
    model = fg.load(captioned)
    conds = model.conditions("a red letter A", 4)
    solver = fg.solvers.build("auto", steps=2)
    by_hand = model.conditions("a blurry letter", 4)
    rule = fg.guidance.build("negative", model, negative=by_hand, w=2.0)
    expected = fg.sample(rule, (4, 3, 16, 16), conds, solver, seed=0)
    assert_close(away, expected, rtol=1e-4, atol=1e-4)
    cfg = fg.sample(fg.guidance.build("cfg", model, w=2.0), (4, 3, 16, 16), conds, solver, seed=0)
    assert_close(plain, cfg, rtol=1e-4, atol=1e-4)
    assert several.shape == plain.shape
    sentence = run("sample", *asked, "guidance=negative", "guidance.negative=3").sentence
    assert "takes conditions of shape (64,)" in sentence
    assert "was given the label 3" in sentence


def test_evaluation_asks_for_held_out_captions_and_holds_samples_to_their_labels(run: Run, captioned: Path) -> None:
    ended = run("evaluate", str(captioned), "--smoke", "num=10", "classifier.network.width=4")
    assert ended.code == 0, ended
    rows = json.loads((captioned / "evaluation" / "quality.json").read_text())["rows"]
    assert {row["w"] for row in rows} == {0, 1, 2, None}
    assert all(0 <= row["label_accuracy"] <= 1 for row in rows)


def test_it_is_watched(run: Run) -> None:
    words = ["watch=samples", "watch.every=3", "watch.shown=4", "watch.solver.steps=1"]
    assert run("train", "moons", *TINY, *WORDS, *words, "run=runs/watched").code == 0
    assert list(Path("runs/watched/watch").glob("*.png"))


def test_attributes_are_asked_for_by_name(run: Run) -> None:
    told = ["conditioner=attributes", "conditioner.names=[character,colour]"]
    assert run("train", "moons", *TINY, *told, "run=runs/attributes").code == 0
    folder = Path("runs/attributes")
    assert run("sample", str(folder), *FAST, "cond={character: B, colour: red}").code == 0
    assert drawn(folder)["conditions"][0].tolist() == [0, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert run("sample", str(folder), *FAST, "guidance=negative", "guidance.negative={colour: red}").code == 0
    assert "did you mean 'red'" in run("sample", str(folder), *FAST, "cond={colour: rad}").sentence


def test_mistakes_before_anything_is_trained(run: Run) -> None:
    nowhere = run("train", "moons", *TINY, *WORDS, "conditioner.encoder=./nowhere")
    assert "there is no folder ./nowhere" in nowhere.sentence
    ended = run("train", "moons", "conditioner=text", "conditioner.encoder=words", "device=cpu")
    assert "tells captions, and moons (train) has none" in ended.sentence
    assert not list(Path("runs").rglob("config.yaml"))


def test_a_class_by_its_name(run: Run) -> None:
    assert run("train", "moons", *TINY, "run=runs/labelled").code == 0
    assert run("sample", "runs/labelled", *FAST, "cond=B").code == 0
    assert drawn(Path("runs/labelled"))["labels"].tolist() == [1, 1, 1, 1]
    assert "unknown class of glyphs (train) 'C'" in run("sample", "runs/labelled", *FAST, "cond=C").sentence
