"""``flowguide sample cascade=[...]``, from the recipes to the pictures; and a stage by itself."""

import csv
from pathlib import Path

import pytest
import torch
from command_line import Run
from safetensors.torch import load_file

SMOKE = ["training.steps=1", "device=cpu"]


@pytest.fixture
def stages(run: Run) -> Run:
    """The smoke variants of the two stages, in runs/base and runs/sr."""
    for recipe, folder in {"glyphs16_base": "base", "glyphs64_sr": "sr"}.items():
        ended = run("train", recipe, "--smoke", *SMOKE, f"run=runs/{folder}")
        assert ended.code == 0, ended
    return run


def test_a_cascade_and_its_mistakes(stages: Run) -> None:
    ended = stages("sample", "cascade=[runs/base,runs/sr]", "num=4", "solver.steps=2", "device=cpu")
    assert "4 samples, 2 + 2 evaluations of the fields: runs/sr/samples/cascade_cfg_w1_auto2_seed0_" in ended.out
    (file,) = Path("runs/sr/samples").glob("*.safetensors")
    tensors = load_file(file)
    assert tensors["data"].shape == (4, 1, 64, 64)
    assert tensors["stage_1"].shape == (4, 1, 16, 16)
    assert tensors["labels"].tolist() == [0, 1, 2, 0]
    assert file.with_suffix(".png").is_file()

    listed = "cascade=[{run: runs/base, guidance: {name: cfg, w: 2}, solver: {name: heun, steps: 2}}, runs/sr]"
    ended = stages("sample", listed, "~guidance", "num=2", "cond=1", "solver.steps=3", "augmentation=0.2", "seed=5")
    assert "2 samples, 4 + 3 evaluations" in ended.out

    def mistake(cascade: str, *words: str) -> str:
        return stages("sample", f"cascade={cascade}", "num=2", "solver.steps=2", "device=cpu", *words).sentence

    assert "a cascade has two stages or more" in mistake("[runs/sr]")
    assert "the first stage, runs/sr, is shown images of 16x16" in mistake("[runs/sr,runs/sr]")
    assert "runs/base is shown no image, and so cannot come after runs/base" in mistake("[runs/base,runs/base]")
    assert "runs/none does not exist" in mistake("[runs/base,runs/none]")
    assert "is no list of runs" in mistake("runs/base")
    assert "is no list of runs" in mistake("[{guidance: null}, runs/sr]")
    assert "a level of noise in [0, 1], not 3" in mistake("[runs/base,runs/sr]", "augmentation=3")
    assert "did you mean 'augmentation'" in mistake("[runs/base,runs/sr]", "augmentatoin=3")
    assert "cond must be a label from 0 to 2" in mistake("[runs/base,runs/sr]", "cond=7")


@pytest.mark.slow
def test_a_cascade_is_evaluated(stages: Run) -> None:
    """As a run is, in a folder of its own."""
    both = "cascade=[runs/base,runs/sr]"
    ended = stages("evaluate", both, "--smoke", "guidance.w=[1,2]", "augmentation=0.2")
    assert ended.code == 0, ended
    assert "cascade: runs/base > runs/sr, with noise of the level 0.2 between." in ended.out
    assert "tables: runs/sr/evaluation/cascade/quality.csv and .json" in ended.out
    *rows, real = csv.DictReader(Path("runs/sr/evaluation/cascade/quality.csv").read_text().splitlines())
    assert [(row["rule"], row["w"], row["cascade"], row["augmentation"]) for row in rows] == [
        ("cfg", "1.0", "runs/base > runs/sr", "0.2"),
        ("cfg", "2.0", "runs/base > runs/sr", "0.2"),
    ]
    assert (real["rule"], real["cascade"]) == ("real data", "")
    one = "cascade=[{run: runs/base, guidance: {name: cfg, w: 1.5}}, runs/sr]"
    ended = stages("evaluate", one, "--smoke", "~guidance", "out=runs/elsewhere")
    assert ended.code == 0, ended
    assert "cascade: runs/base cfg 1.5 > runs/sr, with noise of the level 0.1 between." in ended.out
    assert not Path("runs/sr/evaluation/quality.csv").exists()

    def mistake(*words: str) -> str:
        return stages("evaluate", *words, "--smoke").sentence

    assert "for example: flowguide evaluate cascade=[runs/glyphs16_base,runs/glyphs64_sr]" in mistake("cascade=runs/sr")
    assert "a cascade has two stages or more" in mistake("cascade=[runs/sr]")
    assert "did you mean 'augmentation'" in mistake(both, "augmentatoin=3")
    assert "is more than was trained with" in mistake(both, "augmentation=0.9")
    each = "cascade=[{run: runs/base, guidance: null}, {run: runs/sr, guidance: null}]"
    assert "none is left for guidance.w" in mistake(each, "guidance.w=2")


LETTERS = ["data.count=16", "data.test_count=8", "data.letters=AB"]
TINY = ["network=unet", "network.width=8", "network.multipliers=[1,2]", "network.blocks=1", "network.head_width=8"]
TINY += ["network.attention=[1]", "training.steps=2", "training.batch_size=4", "training.log=none", "device=cpu"]
FAST = ["num=4", "solver.steps=2", "guidance.w=2", "device=cpu"]


@pytest.fixture
def captioned(run: Run) -> Run:
    """Two stages that are told captions, one as a vector and the other by its tokens, in runs/base and runs/sr."""
    base = ["data=glyphs", "data.size=8", *LETTERS, "conditioner=text", "conditioner.encoder=words"]
    assert run("train", "moons", *TINY, *base, "run=runs/base").code == 0
    sr = ["data=glyphs", "data.size=16", *LETTERS, "conditioner=low_resolution", "conditioner.size=8"]
    ended = run("train", "moons", *TINY, *sr, "+conditioner@conditioner.beside=text", "run=runs/sr",
                "conditioner.beside.encoder=words", "conditioner.beside.tokens=true")  # fmt: skip
    assert ended.code == 0, ended
    return run


@pytest.mark.slow
def test_a_captioned_cascade(captioned: Run) -> None:
    def drawn(*words: str) -> dict[str, torch.Tensor]:
        before = set(Path("runs/sr/samples").glob("*.safetensors"))
        ended = captioned("sample", *words, *FAST)
        assert ended.code == 0, ended
        (file,) = set(Path("runs/sr/samples").glob("*.safetensors")) - before
        return load_file(file)

    both, asked = "cascade=[runs/base,runs/sr]", "cond=a red letter B in serif"
    tensors = drawn(both, asked)
    assert (tensors["conditions_1"].shape, tensors["conditions_2"].shape) == ((4, 64), (4, 77, 64))
    assert (tensors["stage_1"].shape, tensors["data"].shape) == ((4, 3, 8, 8), (4, 3, 16, 16))
    in_turn = drawn(both)
    assert len(in_turn["conditions_1"].unique(dim=0)) > 1
    away = drawn(both, asked, "guidance=negative", "guidance.negative=a blurry letter")
    several = drawn(both, asked, "guidance=multi", "guidance.labels=['a letter B','a red A']")
    assert not torch.equal(away["stage_1"], several["stage_1"])
    alone = drawn("runs/sr", asked, "batch_size=3")
    assert torch.equal(alone["conditions"].isnan(), tensors["conditions_2"].isnan())

    def mistake(*words: str) -> str:
        return captioned("sample", *words, *FAST).sentence

    assert "runs/base: this model is told captions" in mistake(both, "cond=3")
    assert "runs/base: cond lists 2 captions for num=4" in mistake(both, "cond=[a,b]")
    ended = captioned("evaluate", both, "--smoke", "guidance.w=[1]")
    assert ended.code == 0, ended
    (row, _) = csv.DictReader(Path("runs/sr/evaluation/cascade/quality.csv").read_text().splitlines())
    assert row["cascade"] == "runs/base > runs/sr"
    assert 0 <= float(row["label_accuracy"]) <= 1


def test_a_stage_that_is_told_attributes(run: Run) -> None:
    sr = ["data=glyphs", "data.size=16", *LETTERS, "conditioner=low_resolution", "conditioner.size=8"]
    beside = "conditioner.beside={name: attributes, names: [character, colour]}"
    assert run("train", "moons", *TINY, *sr, beside, "run=runs/sr").code == 0
    ended = run("sample", "runs/sr", *FAST, "cond={character: B, colour: red}")
    assert ended.code == 0, ended
    assert "did you mean 'red'" in run("sample", "runs/sr", *FAST, "cond={colour: rad}").sentence
    ended = run("train", "moons", *TINY, *sr, "conditioner.beside=txt")
    assert "unknown conditioner 'txt'; did you mean 'text'" in ended.sentence


def test_a_stage_by_itself_is_sampled_and_evaluated_with_held_out_images(stages: Run) -> None:
    ended = stages("sample", "runs/sr", "num=3", "guidance.w=2", "solver.steps=2", "device=cpu")
    assert "3 samples, 2 evaluations" in ended.out
    ended = stages("evaluate", "runs/sr", "--smoke", "guidance.w=[1]")
    assert ended.code == 0, ended
    assert Path("runs/sr/evaluation/quality.csv").read_text().count("cfg,") == 1


@pytest.mark.slow
def test_a_stage_is_watched_with_held_out_images(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWGUIDE_CACHE", str(tmp_path / "cache"))
    few = {"every": 1, "num": 4, "shown": 3, "solver.steps": 1, "classifier.network.width": 4}
    few |= {"classifier.training.steps": 2, "classifier.training.batch_size": 4}
    words = [f"watch.{name}={value}" for name, value in few.items()]
    ended = run("train", "glyphs64_sr", "--smoke", *SMOKE, "run=runs/sr", "watch=quality", *words)
    assert ended.code == 0, ended
    assert Path("runs/sr/watch/step-00000001.png").is_file()
    assert Path("runs/sr/best.safetensors").is_file()
