"""The way from images to latents to samples, on the command line."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from command_line import Run
from PIL import Image
from safetensors.torch import load_file

import flowguide as fg

DATA = ["data.size=8", "data.letters=ABC", "data.count=60", "data.test_count=30"]
TINY = ["training.steps=3", "training.batch_size=8", "device=cpu"]
VAE = ["train", "glyphs_vae", *DATA, *TINY, "network.widths=[8,8]", "network.patch=1"]
FIELD = ["train", "glyphs_latent_dit", *TINY, "network.depth=1", "network.width=16", "network.heads=2"]
CLASSIFIER = ["classifier.training.steps=3", "classifier.network.width=4", "classifier.training.batch_size=8"]


@pytest.fixture
def latents(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("FLOWGUIDE_CACHE", str(tmp_path / "cache"))
    trained = run(*VAE)
    assert "next:    flowguide encode runs/glyphs_vae out=runs/latents" in trained.out, trained
    encoded = run("encode", "runs/glyphs_vae", "out=runs/glyphs_latents", "shard_size=32", "device=cpu")
    assert "encoded: runs/glyphs_latents: 60 to train and 30 to test, 4x4x4 numbers each" in encoded.out, encoded
    assert "reconstructed with a PSNR of " in encoded.out
    return run


def test_from_images_to_latents_to_samples(latents: Run) -> None:
    """Evaluated on decoded pixels, against the images that were encoded."""
    watch = ["watch=quality", "watch.every=3", "watch.num=6", "watch.shown=6", "watch.solver.steps=1"]
    watch += ["watch.classifier.training.steps=3", "watch.classifier.network.width=4"]
    watch += ["watch.classifier.training.batch_size=8"]
    trained = latents(*FIELD, *watch, "run=runs/dit")
    assert trained.code == 0, trained
    assert Image.open("runs/dit/watch/step-00000003.png").size[0] > 24
    sampled = latents("sample", "runs/dit", "num=6", "guidance.w=2", "solver.steps=2", "device=cpu")
    assert "6 samples, 2 evaluations of the field: runs/dit/samples/cfg_w2_auto2_seed0.png" in sampled.out, sampled
    assert load_file("runs/dit/samples/cfg_w2_auto2_seed0.safetensors")["data"].shape == (6, 3, 8, 8)
    evaluated = latents("evaluate", "runs/dit", "guidance.w=[1]", "solver.steps=2", "device=cpu", "num=12", *CLASSIFIER)
    assert evaluated.code == 0, evaluated
    row, _ = json.loads(Path("runs/dit/evaluation/quality.json").read_text())["rows"]
    assert row["reference_num"] == 60
    assert "classifier of glyphs" in row["features"]


def test_the_page_on_latents_is_right(latents: Run) -> None:
    """Its lines compose, and its Python runs."""
    page = (Path(fg.__file__).parent.parent / "docs" / "latent.md").read_text()
    lines = re.findall(r"^    flowguide train ([^#\n]+)", page.replace("\\\n", " "), re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        assert latents("train", *shlex.split(line), "--cfg", "job").code == 0, line
    assert latents(*FIELD).code == 0
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    Path("example.py").write_text(example)
    assert runpy.run_path("example.py")["images"].shape == (16, 3, 8, 8)


def test_mistakes_are_sentences(latents: Run) -> None:
    for words, sentence in (
        (["encode"], "which autoencoder? Name a run of one"),
        (["encode", "out=runs/x"], "which autoencoder? Name a run of one"),
        (["encode", "runs/glyphs_vae"], "out=... is missing, the folder where the latents go"),
        (["encode", "runs/nowhere", "out=runs/x"], "runs/nowhere does not exist: encode takes a run folder"),
        (["encode", "runs/glyphs_vae", "out=runs/x", "data=moons"], "moons (train) cannot be encoded"),
        (["encode", "runs/glyphs_vae", "out=runs/x", "shard_sise=3"], "did you mean 'shard_size'"),
        (["encode", "runs/glyphs_vae", "out=runs/glyphs_latents", "precision=float32"], "another precision"),
        (["sample", "runs/glyphs_vae"], "runs/glyphs_vae holds an autoencoder, and only a generative model can be"),
        (["train", "glyphs_latent_dit", "data.folder=runs/nowhere"], "there is no folder runs/nowhere"),
        (["train", "glyphs_latent_dit", "data.folder=runs/glyphs_vae"], "holds no latents: there is no manifest.json"),
        ([*VAE, "data.size=9", "run=runs/y"], "sides are multiples of 2 pixels, not 3x9x9"),
        (["train", "glyphs_vae", "data=moons", "run=runs/y"], "an autoencoder takes images"),
        (["train", "digits", "objective=vae", "run=runs/y"], "VAE trains an Autoencoder, not a NetworkField"),
    ):
        assert sentence in latents(*words).sentence


def test_without_diffusers_the_extra_is_named(latents: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    for words in (
        ["train", "glyphs_vae", "network=autoencoder_kl", "network.widths=[8,8]", *DATA, "run=runs/kl"],
        ["encode", "stabilityai/sd-vae-ft-mse", "data=glyphs", "out=runs/kl"],
    ):
        assert "needs diffusers: pip install 'flowguide[latent]'" in latents(*words).sentence
        assert not list(Path("runs/kl").glob("*"))
