"""``flowguide sample cascade=[...]``, from the recipes to the pictures; and a stage by itself."""

from pathlib import Path

import pytest
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
