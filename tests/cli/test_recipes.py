"""The recipes that come with flowguide: each composes, is what its header says, and runs in its smoke variant."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import stored_data
import torch
import yaml
from command_line import Run
from encoded import encoded, write_autoencoder

import flowguide as fg
from flowguide import training
from flowguide.cli import recipes
from flowguide.networks.cost import Cost, cost

FOLDER = recipes.folder()
NAMES = [file.stem for file in sorted(FOLDER.glob("*.yaml"))]
SMOKE = [file.stem for file in sorted((FOLDER / "smoke").glob("*.yaml")) if file.stem not in ("base", "evaluate")]
# What must be given, what a sample of the data is, and how many labels there are.
DATA = {
    "cifar10": ("data.folder=.", (3, 32, 32), 10),
    "image_folder": ("data.folder=.", (3, 64, 64), 1000),
    "latents": ("data.folder=.", (4, 32, 32), 1000),
}
LATENT = ("glyphs_latent_dit", "glyphs_vae")  # of minutes on a CPU, and one needs the other
# What the network is told in place of labels: as wide as the embeddings of all-MiniLM-L6-v2.
TOLD = {
    "glyphs_text": {"num_classes": None, "embedding": 384},
    "glyphs32_text_sr": {"num_classes": None, "embedding": 384, "extra_channels": 4},
}
PUBLISHED = {"cifar10_unet": 35.7, "imagenet64_unet": 296, "imagenet256_dit": 675}  # millions of parameters


def header(name: str) -> str:
    """The comment that a recipe begins with, in one line."""
    lines = []
    for line in (FOLDER / f"{name}.yaml").read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)


def is_large(name: str) -> bool:
    """Whether a recipe takes so long that its header says on what."""
    return "Hardware:" in header(name) and name not in LATENT


def composed(run: Run, name: str) -> dict[str, Any]:
    given = yaml.safe_load((FOLDER / f"{name}.yaml").read_text()).get("data", {})
    words = [f"data.{key}=." for key, value in given.items() if value == "???"]
    ended = run("train", name, *words, "--cfg", "job", "--resolve")
    assert ended.code == 0, ended
    return yaml.safe_load(ended.out)


@cache
def spent(name: str, settings: str) -> Cost:
    """Of a recipe's network, on no device."""
    config = training.TrainConfig.of({k: v for k, v in yaml.safe_load(settings).items() if k != "quiet"})
    node = dict(config.data)
    if node["name"] in DATA:
        _, shape, classes = DATA[node["name"]]
    else:
        few = {"of": {**node["of"], "count": 70}} if "of" in node else {"count": 70} if "count" in node else {}
        one = fg.data.registry.build_from({**node, **few}, split="train")
        shape, classes = one.shape, one.num_classes
    component = fg.networks.registry.get(config.network["name"])
    options = {**component.options_for(shape, classes), **TOLD.get(name, {})}
    if config.conditioner is not None and name not in TOLD:
        options |= fg.conditioners.registry.build_from(config.conditioner).options(one)
    with torch.device("meta"):
        return cost(fg.networks.registry.build_from({**config.network, **options}), shape)


def test_every_recipe_that_says_what_it_runs_on_has_a_smoke_variant() -> None:
    assert sorted([*LATENT, *(name for name in NAMES if is_large(name))]) == SMOKE
    assert len(SMOKE) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_it_composes(run: Run, name: str) -> None:
    settings = composed(run, name)
    first = (FOLDER / f"{name}.yaml").read_text().partition("\n")[0]
    assert first.startswith("# ")
    assert len(first) <= 120
    training.TrainConfig.of({key: value for key, value in settings.items() if key != "quiet"})  # checks every option
    if settings["data"]["name"] == "glyphs":
        assert not settings["data"].get("flip"), "a mirrored letter is another"


@pytest.mark.parametrize("name", [name for name in NAMES if is_large(name)])
def test_its_header_says_what_to_expect(run: Run, name: str) -> None:
    """Hardware, time and reference; parameters and time are those of the network and of the settings."""
    text, settings = header(name), composed(run, name)
    for word in ("Hardware: ", "Time: ", "Reference: ", "Guidance: "):
        assert word in text
    assert f"runs/{name}" in text
    here = spent(name, yaml.safe_dump(settings))
    body = (FOLDER / f"{name}.yaml").read_text()
    said = re.search(r"# ([\d.]+) M parameters", body)
    if said:  # others inherit their network
        assert float(said[1]) == pytest.approx(here.parameters / 1e6, rel=2e-3)
    if name in PUBLISHED:
        assert here.parameters / 1e6 == pytest.approx(PUBLISHED[name], rel=2e-3)
    flops, batch, steps = re.search(r"3 x ([\d.]+) GFLOP x (\d+) x ([\d,]+)", text).groups()
    options = settings["training"]
    assert float(flops) == pytest.approx(here.flops / 1e9, rel=0.01)
    assert int(batch) == options["batch_size"]
    assert int(steps.replace(",", "")) == options["steps"]
    if "core-minutes, measured" in text:
        return
    hours, share, peak = re.search(
        r"about ([\d.,]+) GPU-hours, estimated: .* at (\d+) % of (\d+) TFLOP/s", text
    ).groups()
    total = 3 * here.flops * options["batch_size"] * options["steps"]
    estimated = total / (int(share) / 100 * int(peak) * 1e12) / 3600
    assert float(hours.replace(",", "")) == pytest.approx(estimated, rel=0.1)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("cifar10_unet", "https://www.cs.toronto.edu/~kriz/cifar.html"),
        ("cifar10_unet_wide", "https://www.cs.toronto.edu/~kriz/cifar.html"),
        ("cifar10_cfg", "https://www.cs.toronto.edu/~kriz/cifar.html"),
        ("imagenet64_unet", "https://image-net.org"),
        ("imagenet256_dit", "latents of ImageNet"),
    ],
)
def test_missing_data_are_a_sentence(run: Run, name: str, where: str) -> None:
    sentence = run("train", name).sentence
    assert sentence.startswith("data.folder must be given: data.folder=... (")
    assert where in sentence
    nowhere = run("train", name, "data.folder=nowhere.npz").sentence
    assert "there is no folder nowhere.npz" in nowhere
    assert where in nowhere or not name.startswith("cifar10")
    assert not list(Path().rglob("config.yaml"))


def files_for(name: str, data: str) -> list[str]:
    """Words that give a recipe's data set what it reads: a little of it, made on the spot."""
    if data == "cifar10":
        stored_data.write_cifar10(Path("cifar"), each=10)  # of every class
        return ["data.folder=cifar", "data.verify=false"]
    if data == "image_folder":
        stored_data.write_images(Path("pictures"), each=4)
        return ["data.folder=pictures", "data.test_share=0.5"]
    if data == "latents":
        size, patch = (256, 8) if name == "imagenet256_dit" else (32, 4)
        autoencoder = write_autoencoder(Path("runs/vae"), widths=[8], patch=patch, latent_channels=4)
        stored_data.write_images(Path("pictures"), each=8)
        node = {"name": "image_folder", "folder": "pictures", "size": size, "test_share": 0.5, "flip": True}
        encoded(Path("runs"), autoencoder, data=node)
        return ["data.folder=runs/latents"]
    return []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SMOKE if name != "glyphs_vae"])
def test_its_smoke_variant_runs(run: Run, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same data set, objective, network, averages and precision: trained, sampled, evaluated with guidance."""
    monkeypatch.setenv("FLOWGUIDE_CACHE", str(tmp_path / "cache"))
    large = composed(run, name)
    words = files_for(name, large["data"]["name"])
    ended = run("train", name, "--smoke", *words)
    assert ended.code == 0, ended
    folder = Path(f"runs/{name}_smoke")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for group in ("data", "network", "path", "objective"):
        assert config[group]["name"] == large[group]["name"]
    for option in ("precision", "ema", "ema_lengths", "decay", "optimizer", "betas", "clip"):
        assert config["training"][option] == large["training"][option]
    assert len(list((folder / "averages").glob("step-*"))) == (3 if config["training"]["ema_lengths"] else 0)
    alone = config["objective"]["label_dropout"] == 1  # never told a label, and so not guided
    guided = ["~guidance"] if alone else ["guidance.w=1.5"]
    sampled = run("sample", str(folder), "num=3", *guided, "solver.steps=2", "device=cpu")
    assert "3 samples, 2 evaluations" in sampled.out
    advised = ["~guidance", "metrics=[frechet_distance,inception_score]"] if alone else []
    for word in advised:
        assert f"'{word}'" in ended.out
    evaluated = run("evaluate", str(folder), "--smoke", *advised)
    assert evaluated.code == 0, evaluated
    rows = (folder / "evaluation" / "quality.csv").read_text()
    assert (rows.count("cfg,"), rows.count("unguided,")) == ((0, 1) if alone else (3, 0))


def test_the_smoke_variant_of_an_autoencoder_runs(run: Run) -> None:
    """What it is trained to, 'flowguide encode' says; the rest of the way is in test_latents.py."""
    ended = run("train", "glyphs_vae", "--smoke")
    assert ended.code == 0, ended
    config = yaml.safe_load(Path("runs/glyphs_vae_smoke/config.yaml").read_text())
    assert (config["network"]["name"], config["objective"]["name"]) == ("autoencoder", "vae")
    encoded = run("encode", "runs/glyphs_vae_smoke", "out=runs/latents", "device=cpu")
    assert "16 to train and 16 to test, 4x8x8 numbers each" in encoded.out


def test_recipes_without_a_smoke_variant_say_so(run: Run) -> None:
    assert "unknown smoke 'digits'" in run("train", "digits", "--smoke").sentence


def test_jobs_of_slurm_are_a_choice(run: Run) -> None:
    """Whether or not hydra's launcher is installed, and nowhere does a test submit a job."""
    ended = run("train", "moons", "hydra/launcher=slurm", "hydra.launcher.partition=gpu", "--cfg", "hydra")
    if ended.code:
        assert "pip install 'flowguide[slurm]'" in ended.sentence
    else:
        launcher = yaml.safe_load(ended.out)["hydra"]["launcher"]
        assert (launcher["partition"], launcher["gpus_per_node"]) == ("gpu", 1)
