"""The command line: what it does, and that every mistake is answered with one sentence and exit code 2."""

import importlib.util
import json
import re
import subprocess
import sys
from itertools import cycle, product
from pathlib import Path

import pytest
import torch
import yaml
from command_line import TINY, Run
from PIL import Image
from safetensors.torch import load_file

import flowguide as fg
from flowguide.cli import help
from flowguide.cli.listing import KINDS
from flowguide.cli.main import guard


def test_train_then_sample(moons: Run) -> None:
    again = moons("train", "moons", *TINY)
    assert again.code == 0
    assert "trained: runs/moons" in again.out
    ended = moons("sample", "runs/moons", "num=7", "guidance.w=3", "solver.steps=4")
    assert "7 samples, 4 evaluations of the field: runs/moons/samples/cfg_w3_auto4_seed0.png" in ended.out
    tensors = load_file("runs/moons/samples/cfg_w3_auto4_seed0.safetensors")
    assert tensors["data"].shape == (7, 2)
    assert tensors["labels"].tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert Image.open("runs/moons/samples/cfg_w3_auto4_seed0.png").size[0] > 400
    # The same as from Python.
    field = fg.guidance.build("cfg", fg.load("runs/moons"), w=3.0)
    expected = fg.sample(field, (7, 2), tensors["labels"], fg.solvers.build("auto", steps=4))
    assert torch.allclose(tensors["data"], expected)


@pytest.mark.parametrize(
    ("words", "title"),
    [
        (["solver=euler", "cond=1", "num=3"], "cfg_w1_euler20_seed0_cond1"),
        (["solver=torchdiffeq", "seed=5", "cond=[0,1,1]", "num=3"], "cfg_w1_torchdiffeq20_seed5_??????"),
        (["~guidance", "num=1"], "unguided_auto20_seed0"),
        (["guidance=null", "num=1"], "unguided_auto20_seed0"),
        (["guidance.w=[0,1,2]", "num=3"], "cfg_auto20_seed0_??????"),
        (["ema=false", "num=2", "batch_size=1"], "cfg_w1_auto20_seed0_last"),
    ],
)
def test_ways_to_sample(moons: Run, words: list[str], title: str) -> None:
    assert moons("sample", "runs/moons", *words).code == 0
    (file,) = Path("runs/moons/samples").glob("*.safetensors")
    assert file.match(f"{title}.safetensors")


def test_sampling_does_not_touch_the_data(moons: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fg.data.registry, "_components", {})
    assert moons("sample", "runs/moons", "num=2").code == 0


def test_sample_from_a_checkpoint_file_in_an_odd_folder(run: Run) -> None:
    folder = "my runs/it's = [one]"
    assert run("train", "moons", *TINY, "run='my runs/it\\'s = [one]'").code == 0
    (file,) = Path(folder, "checkpoints").iterdir()
    assert run("sample", str(file), "num=2").code == 0
    assert run("sample", folder, "num=3").code == 0
    names = {"cfg_w1_auto20_seed0", f"cfg_w1_auto20_seed0_{file.stem}"}
    assert {each.stem for each in Path(folder, "samples").glob("*.png")} == names


def test_multirun(run: Run) -> None:
    ended = run("train", "moons", *TINY, "--multirun", "objective.label_dropout=0.1,0.5", "seed=0,1")
    assert ended.code == 0
    configs = [yaml.safe_load(file.read_text()) for file in Path("runs/moons").glob("*/config.yaml")]
    found = {(config["objective"]["label_dropout"], config["seed"]) for config in configs}
    assert found == {(0.1, 0), (0.1, 1), (0.5, 0), (0.5, 1)}


def test_a_bad_point_does_not_cost_the_others(run: Run) -> None:
    ended = run("train", "moons", *TINY, "--multirun", "objective.label_dropout=7,0.5")
    assert "label_dropout is a probability" in ended.sentence
    assert len(list(Path("runs/moons").glob("*/checkpoints/*.safetensors"))) == 1


def test_a_recipe_of_ones_own(run: Run) -> None:
    Path("mine.yaml").write_text(
        "defaults:\n  - base/train\n  - data: spirals\n  - path: vp\n  - network: mlp\n  - objective: cfm\n  - _self_\n"
        "training: {steps: 2, batch_size: 8}\ndata: {count: 16}\n"
    )
    for recipe in ("mine", "mine.yaml"):
        assert run("train", recipe, "path.beta_max=10").code == 0
    config = yaml.safe_load(Path("runs/mine/config.yaml").read_text())
    assert (config["path"], config["data"]["name"]) == ({"name": "vp", "beta_min": 0.1, "beta_max": 10}, "spirals")


def test_the_configuration_can_be_looked_at(run: Run) -> None:
    ended = run("train", "digits", "--cfg", "job")
    assert yaml.safe_load(ended.out)["network"]["multipliers"] == [1, 2]
    assert not Path("runs").exists()


PAIRS = list(product(fg.paths.names(), fg.paths.OUTPUTS))
EACH_ONCE = list(zip(fg.paths.names(), cycle(fg.paths.OUTPUTS), strict=False))  # there are more paths


@pytest.mark.parametrize("pairs", [EACH_ONCE, pytest.param(PAIRS, marks=pytest.mark.slow)], ids=["each", "all"])
def test_components_combine(run: Run, pairs: list[tuple[str, str]]) -> None:
    """Every path with everything that a network may put out trains and samples."""
    for path, kind in pairs:
        where = f"runs/{path}_{kind}"
        assert run("train", "moons", *TINY, f"path={path}", f"predicts={kind}", f"run={where}").code == 0
        assert run("sample", where, "num=2", "guidance.w=2", "solver.steps=2").code == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["objective.time=logit_normal"], {"time": "logit_normal"}),
        (["objective.time={name: logit_normal, mean: 0.5}"], {"time": {"name": "logit_normal", "mean": 0.5}}),
        (["objective.coupling=conditional_ot"], {"coupling": "conditional_ot"}),
        (["objective.quasi_conservative=0.1"], {"quasi_conservative": 0.1}),
        (["objective=dsm", "objective.quasi_conservative={weight: 1, share: 0.25}"],
         {"quasi_conservative": {"weight": 1, "share": 0.25}}),
        (["objective=dsm", "objective.weighting={name: min_snr, gamma: 3}", "objective.time=importance"],
         {"weighting": {"name": "min_snr", "gamma": 3}, "time": "importance"}),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)  # fmt: skip
def test_options_of_the_objective(run: Run, words: list[str], expected: dict[str, object]) -> None:
    assert run("train", "moons", *TINY, *words).code == 0
    objective = yaml.safe_load(Path("runs/moons/config.yaml").read_text())["objective"]
    assert {name: objective[name] for name in expected} == expected


def test_energy_networks(run: Run) -> None:
    tiny = [word for word in TINY if not word.startswith("network")]
    for number, words in enumerate(
        [["network=energy"], ["network=energy", "network.network={name: mlp, width: 8}"], ["network=energy_mlp"]]
    ):
        assert run("train", "moons", *tiny, *words, f"run={number}").code == 0
        assert run("sample", str(number), "num=2", "guidance.w=2", "solver.steps=2").code == 0
    words = ["network=energy_unet_8x8", "network.network.width=8", "network.network.head_width=8"]
    assert run("train", "digits", *words, "training.steps=2", "training.batch_size=8", "run=unet").code == 0
    assert run("sample", "unet", "num=2", "solver.steps=2").code == 0


def test_a_diffusion_transformer(run: Run) -> None:
    words = ["network=dit_8x8", "network.width=16", "network.positions=both", "network.registers=1"]
    assert run("train", "digits", *words, "training.steps=2", "training.batch_size=8", "run=dit").code == 0
    assert run("sample", "dit", "num=2", "guidance.w=2", "solver.steps=2").code == 0


def test_from_one_data_set_to_another(run: Run) -> None:
    words = ["train", "moons", *TINY, "source=eight_gaussians", "source.count=16", "objective.coupling=ot"]
    assert run(*words).code == 0
    assert "trained: runs/moons" in run(*words).out
    assert (
        "holds a run with source.name=eight_gaussians" in run("train", "moons", *TINY, "objective.coupling=ot").sentence
    )
    assert run("sample", "runs/moons", "num=5", "solver=euler", "solver.steps=1", "~guidance", "batch_size=2").code == 0
    found = load_file("runs/moons/samples/unguided_euler1_seed0.safetensors")["data"]
    model = fg.load("runs/moons")
    expected = fg.training.samples(model.config, model, 5, torch.arange(5) % 2, fg.solvers.build("euler", steps=1))
    torch.testing.assert_close(found, expected)
    Path("mine.yaml").write_text(
        "defaults:\n  - base/train\n  - data: moons\n  - path: linear\n  - network: mlp\n  - objective: cfm\n"
        "  - _self_\n  - override source: spirals\ntraining: {steps: 2, batch_size: 8}\n"
        "data: {count: 16}\nsource: {count: 16}\n"
    )
    assert run("train", "mine").code == 0
    assert yaml.safe_load(Path("runs/mine/config.yaml").read_text())["source"]["name"] == "spirals"


MISTAKES = [
    (["train", "moonz"], ["unknown recipe 'moonz'; did you mean 'moons'", "digits"]),
    (["train"], ["which recipe?", "moons"]),
    (["train", "no.yaml"], ["there is no recipe file no.yaml"]),
    (["train", "moons", "netwrk=mlp"], ["unknown setting 'netwrk'; did you mean 'network'"]),
    (["train", "digits", "network=dit", "network.patch=3"], ["must be multiples of 3, not (8, 8); the nearest is"]),
    (["train", "digits", "network=dit", "network.heads=5"], ["5 does not; the nearest that does is 4"]),
    (["train", "moons", "network=dit"], ["a dit takes images"]),
    (["train", "moons", "network=mlpp"], ["unknown network 'mlpp'; did you mean 'mlp'", "unet_8x8"]),
    (["train", "moons", "network.widht=3"], ["did you mean 'network.width'"]),
    (["train", "moons", "path=vp", "path.beta_mim=3"], ["did you mean 'path.beta_min'"]),
    (["train", "moons", "+network.foo=3"], ["unknown option of network 'mlp': 'foo'"]),
    (["train", "moons", "+foo=3"], ["unknown option of the recipe: 'foo'"]),
    (["train", "moons", "training.steps=abc"], ["'steps' of training must be an integer, not 'abc'"]),
    (["train", "moons", "training.steps=0"], ["training.steps must be at least 1, not 0"]),
    (["train", "moons", "training=3"], ["must be a group of settings"]),
    (["train", "moons", "training=null"], ["must be a group of settings"]),
    (["train", "moons", "~network"], ["needs the option 'network'"]),
    (["train", "moons", "data=null"], ["the recipe needs the option 'data'"]),
    (["train", "moons", "network=unet"], ["a unet takes images"]),
    (["train", "moons", "network=energy", "network.network=mlpp"], ["unknown network 'mlpp'; did you mean 'mlp'"]),
    (["train", "moons", "network=energy", "network.network=mlp_classifier"], ["'mlp_classifier' is a classifier"]),
    (["train", "moons", "network=energy", "network.network=unet"], ["a unet takes images"]),
    (["train", "moons", "network=energy_mlp", "network.network.widht=3"], ["did you mean 'network.network.width'"]),
    (["train", "moons", "objective.quasi_conservative=-1"], ["the weight of a penalty, at least 0 and finite, not -1"]),
    (["train", "moons", "source=moonz"], ["unknown source 'moonz'; did you mean 'moons'"]),
    (["train", "moons", "source=digits"], ["source must have the shape of data"]),
    (["train", "moons", "source=moons", "objective=dsm"], ["DenoisingScoreMatching takes no source"]),
    (["train", "moons", "objective.time=unifrom"], ["unknown time sampling 'unifrom'; did you mean 'uniform'"]),
    (["train", "moons", "objective.coupling=[ot]"], ["'coupling' of objective 'cfm' must be a string or a group"]),
    (["train", "moons", "objective=dsm", "objective.weighting=snrr"], ["unknown weighting 'snrr'"]),
    (["train", "digits", "network=convnet"], ["a field needs a network that is called as network(x, t, cond)"]),
    (["train", "digits", "objective=classification"], ["Classification trains a Classifier, not a NetworkField"]),
    (["train", "moons", "network=mlp_classifier"], ["ConditionalFlowMatching trains a Field, not a NetworkPosterior"]),
    (["train", "moons", "objective=noisy_classifier"], ["NoisyClassification trains a Posterior, not a NetworkField"]),
    (
        ["train", "moons", "network=mlp_classifier", "~path"],
        ["MLPClassifier classifies noisy states: it needs the path"],
    ),
    (
        ["train", "moons", "shown=state", "training.steps=1"],
        ["shown=state is for a classifier of noisy states, and MLP is none here"],
    ),
    (
        ["train", "digits", "shown=guess", "training.steps=1"],
        ["shown=guess is for a classifier of noisy states, and UNet is none here"],
    ),
    (
        ["train", "digits_classifier", "shown=state", "training.steps=1"],
        ["shown=state is for a classifier of noisy states"],
    ),
    (
        ["train", "digits_classifier", "clock=edm", "training.steps=1"],
        ["clock=edm is for a model that is told a time, and ConvNet is"],
    ),
    (
        ["train", "digits_noisy_classifier", "sigma_data=1", "training.steps=1"],
        ["sigma_data=1.0 is for a model that predicts edm"],
    ),
    (["train", "moons", "seed=-1"], ["a seed must be an integer from 0"]),
    (["train", "moons", "device=cuda:7"], ["there is no device 'cuda:7' here"]),
    (["train", "moons", "fresh=3"], ["true or false, not 3"]),
    (["train", "moons", "=="], ["parsing override '=='"]),
    (["train", "moons", "seed"], ["seed"]),
    (["train", "moons", "--foo"], ["unknown flag '--foo'"]),
    (["train", "moons", "--config-dir"], ["--config-dir needs a value"]),
    (["train", "moons", "--config-dir", "nowhere"], ["nowhere"]),
    (["train", "moons", "imports=[no_such_module]"], ["no module 'no_such_module'"]),
    (["train", "moons", "imports=3"], ["imports must be a list of modules"]),
    (["train", "moons", "imports=."], ["imports must be a list of modules"]),
    (["train", "moons", "run=${oops}"], ["oops"]),
    (["sample"], ["which run?"]),
    (["sample", "runs/nope"], ["runs/nope does not exist"]),
    (["sample", "."], ["has no config.yaml, so it is not a run folder"]),
    (["sample", "runs/moons", "guidance.w=abc"], ["'w' of guidance rule 'cfg' must be a number or a list"]),
    (["sample", "runs/moons", "guidance.w=nan"], ["w must be a finite number", "nan"]),
    (["sample", "runs/moons", "guidance=classifier"], ["the rule classifier needs guidance.classifier: a run folder"]),
    (["sample", "runs/moons", "guidance=classifier", "guidance.classifier=runs/nope"], ["runs/nope does not exist"]),
    (
        ["sample", "runs/moons", "guidance=classifier", "guidance.classifier=runs/moons"],
        ["runs/moons holds a NetworkField, and option 'classifier' of classifier takes a Posterior"],
    ),
    (["sample", "runs/moons", "guidance=classifier", "guidance.classifier=3"], ["must be a Posterior, not 3"]),
    (["sample", "runs/moons", "guidance.w=[1,2]"], ["w has 2 values for 64 samples"]),
    (["sample", "runs/moons", "solver.steps=0"], ["at least 1 step, not 0"]),
    (["sample", "runs/moons", "solver.t_end=2"], ["inside [0, 1]", "got 0 to 2"]),
    (["sample", "runs/moons", "solver=euler", "solver.grid=foo"], ["unknown grid 'foo'"]),
    (["sample", "runs/moons", "solver=heum"], ["unknown solver 'heum'; did you mean 'heun'"]),
    (["sample", "runs/moons", "cond=7"], ["cond must be a label from 0 to 1", "not 7"]),
    (["sample", "runs/moons", "cond=[0,1]"], ["cond lists 2 labels for num=64 samples"]),
    (["sample", "runs/moons", "cond=x"], ["cond names a class, 'x'", "have no names: give its number"]),
    (["sample", "runs/moons", "num=0"], ["num must be at least 1, not 0"]),
    (["sample", "runs/moons", "batch_size=0"], ["batch_size must be at least 1"]),
    (["evaluate", "runs/moons"], ["Classifier features are of labelled images", "take features=identity"]),
    (["evaluate", "runs/moons", "features=identity"], ["'inception_score' needs a classifier's logits"]),
    (["evaluate", "runs/moons", "features=identiy"], ["identiy"]),
    (["evaluate", "runs/moons", "reference={name: digits}"], ["digits (train)", "at another resolution", "1x8x8"]),
    (["evaluate", "runs/moons", "features=dinov2"], ["DinoV2 features are of images", "moons (train) holds 2"]),
    (["evaluate", "runs/moons", "guidance.w=[]"], ["guidance.w must be a number or a list of numbers"]),
    (["evaluate", "runs/moons", "seeds=[]"], ["at least one seed"]),
    (["evaluate", "runs/moons", "metrics=[fid]"], ["unknown metric 'fid'"]),
    (["evaluate", "runs/moons", "num=1"], ["num must be at least 2"]),
    (["list", "pths"], ["unknown kind 'pths'; did you mean 'paths'"]),
    (["list", "foo=1"], ["takes a kind and imports=[...]"]),
    (["list", "paths", "--verbose"], ["flowguide list networks --verbose"]),
    (["list", "networks", "--verbos"], ["unknown kind '--verbos'"]),
    (["frobnicate"], ["unknown command 'frobnicate'", "ema, encode, evaluate, import, list, sample, train"]),
]


@pytest.mark.parametrize(("words", "expected"), MISTAKES, ids=lambda value: " ".join(value)[:50])
def test_mistakes_get_a_sentence(run: Run, words: list[str], expected: list[str], tmp_path: Path) -> None:
    if "runs/moons" in words:
        assert run("train", "moons", *TINY).code == 0
    sentence = run(*words).sentence
    for words_of_it in expected:
        assert words_of_it in sentence
    assert not Path("runs/nope").exists()


@pytest.mark.parametrize(
    ("recipe", "word", "expected"),
    [
        ("moons", "shown=state", "shown=state is for a classifier of noisy states, and MLP is none here"),
        ("digits", "shown=guess", "shown=guess is for a classifier of noisy states, and UNet is none here"),
        ("digits_classifier", "shown=state", "shown=state is for a classifier of noisy states, and ConvNet is none"),
        ("digits_classifier", "clock=edm", "clock=edm is for a model that is told a time, and ConvNet is none here"),
        ("digits_noisy_classifier", "sigma_data=1", "sigma_data=1.0 is for a model that predicts edm, and"),
    ],
)
def test_settings_of_other_models_are_refused(run: Run, recipe: str, word: str, expected: str) -> None:
    assert run("train", recipe, word, "training.steps=1").sentence.startswith(expected)
    assert not Path("runs", recipe, "config.yaml").exists()


def test_settings_that_differ_from_those_of_the_run(moons: Run) -> None:
    assert "holds a run with seed=0, not 1" in moons("train", "moons", *TINY, "seed=1").sentence
    assert moons("train", "moons", *TINY, "seed=1", "fresh=true").code == 0


def test_a_truncated_checkpoint(moons: Run) -> None:
    (file,) = Path("runs/moons/checkpoints").iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    assert "is not a whole checkpoint: it is truncated" in moons("sample", "runs/moons").sentence


def test_a_classifier_cannot_be_sampled(run: Run) -> None:
    assert run("train", "digits_classifier", "training.steps=2", "network.width=4", "run=c").code == 0
    assert "c holds a classifier, and only a generative model can be sampled" in run("sample", "c").sentence


def test_evaluate(run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    small = ["network.width=8", "network.head_width=8", "training.batch_size=16", "training.steps=2"]
    assert run("train", "digits", *small, "run=d").code == 0
    words = ["evaluate", "d", "guidance.w=[0,2]", "seeds=[0,1]", "num=20", "solver.steps=2"]
    judge = ["classifier.training.steps=20", "classifier.network.width=4"]
    ended = run(*words, *judge)
    assert ended.code == 0
    assert "not Inception FID" in ended.out
    assert "flowguide's own classifier of digits" in ended.out
    assert caplog.text.count("20 samples in 64 features: their covariance has rank 19 of 64") == 1
    result = json.loads(Path("d/evaluation/quality.json").read_text())
    assert [(row["w"], row["seed"]) for row in result["rows"]] == [(0, 0), (0, 1), (2, 0), (2, 1), (None, None)]
    assert [row["w"] for row in result["summary"]] == [0, 2, None]
    assert Path("d/evaluation/quality.csv").read_text().startswith("rule,w,seed,num,frechet_distance,")
    # Points are kept: another w costs one point, and nothing is sampled twice.
    drawn = []
    monkeypatch.setattr(
        fg.solvers, "sample", lambda *a, inner=fg.solvers.sample, **k: drawn.append(1) or inner(*a, **k)
    )
    words[2] = "guidance.w=[0,2,1]"
    ended = run(*words, *judge)
    assert ended.code == 0
    assert "reference: digits (train) was seen before, and is read from" in caplog.text
    assert len(drawn) == 2
    kept = json.loads(Path("d/evaluation/quality.json").read_text())["rows"]
    assert kept[:4] == result["rows"][:4]


LENGTHS = ["training.steps=8", "training.ema_lengths=[0.05,0.1]", "training.snapshot_every=1"]


def test_averages_of_another_length(run: Run) -> None:
    assert run("train", "moons", *TINY, *LENGTHS).code == 0
    folder = Path("runs/moons/averages")
    for words in (["--sigma-rel", "0.08"], ["--sigma-rel=0.08"], ["sigma_rel=8e-2"], ["sigma_rel=[0.08,0.12]"]):
        ended = run("ema", "runs/moons", *words)
        assert ended.code == 0
        assert "sigma_rel=0.08 at step 8, where " in ended.out
        assert "% of what averaging changes is missed: runs/moons/averages/sigma_rel-0.080.safetensors" in ended.out
    assert (folder / "sigma_rel-0.120.safetensors").is_file()
    assert "step-00000005.safetensors" in run("ema", "runs/moons", "--sigma-rel", "0.1,0.2", "--step", "5").out
    # The file, the number and Python are the same.
    drawn = []
    for words in (["runs/moons/averages/sigma_rel-0.080.safetensors"], ["runs/moons", "ema=0.08"]):
        assert run("sample", *words, "num=3").code == 0
    for name in ("cfg_w1_auto20_seed0_sigma_rel-0.080", "cfg_w1_auto20_seed0_ema0.08"):
        drawn.append(load_file(f"runs/moons/samples/{name}.safetensors")["data"])
    field = fg.guidance.build("cfg", fg.load("runs/moons", ema=0.08), w=1.0)
    drawn.append(fg.sample(field, (3, 2), torch.tensor([0, 1, 0]), fg.solvers.build("auto", steps=20)))
    for each in drawn[1:]:
        torch.testing.assert_close(each, drawn[0])
    assert run("sample", "runs/moons/checkpoints/step-00000008.safetensors", "ema=0.1", "num=2").code == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "which run? Name one"),
        (["runs/moons"], "sigma_rel must be a number or a list of numbers; it is missing"),
        (["runs/moons", "sigma_rel=[]"], "sigma_rel must be a number or a list of numbers; not []"),
        (["runs/moons", "--sigma-rel", "much"], "not 'much'"),
        (["runs/moons", "--sigma-rel"], "--sigma-rel needs a value after it"),
        (["runs/moons", "--sigma-rel", "[0.1"], "cannot be read"),
        (["runs/moons", "sigma_rel=0.5"], "is from 1e-06, the last weights, to 0.2887"),
        (["runs/moons", "sigma=0.1"], "unknown option of flowguide ema 'sigma'; did you mean 'sigma_rel'"),
        (["runs/moons", "sigma_rel=0.1", "step=x"], "step must be an integer, not 'x'"),
        (["runs/moons", "sigma_rel=0.1", "step=4"], "at any step from 1 to 3, the last snapshot's, not at 4"),
        (["runs/nope", "sigma_rel=0.1"], "runs/nope does not exist"),
        (["runs/bare", "sigma_rel=0.1"], "there are no snapshots of averages in runs/bare/averages"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_mistakes_about_averages(run: Run, words: list[str], sentence: str) -> None:
    if "runs/moons" in words:
        assert run("train", "moons", *TINY, "training.ema_lengths=[0.05,0.1]", "training.snapshot_every=1").code == 0
    if "runs/bare" in words:
        assert run("train", "moons", *TINY, "run=runs/bare").code == 0
    assert sentence in run("ema", *words).sentence


NOISY = ["network=mlp_classifier", "objective=noisy_classifier", "run=runs/noisy"]


def test_classifier_guidance(moons: Run) -> None:
    trained = moons("train", "moons", *TINY, *NOISY)
    assert "next:    flowguide sample RUN guidance=classifier guidance.classifier=runs/noisy" in trained.out
    words = ["sample", "runs/moons", "guidance=classifier", "guidance.classifier=runs/noisy", "num=5"]
    for solver in (["solver=auto"], ["solver=ddim"], ["solver=ddim", "solver.eta=1"]):
        assert moons(*words, "guidance.w=4", *solver).code == 0
    assert "only a generative model can be sampled" in moons("sample", "runs/noisy").sentence
    assert moons("train", "moons", *TINY, "path=vp", "run=runs/vp").code == 0
    words[1] = "runs/vp"
    sentence = moons(*words).sentence
    assert "the classifier knows the states of the path Linear(), and the field is on VP(" in sentence


def test_evaluate_knows_the_classifier(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its points are those of one classifier: trained again, it is another, in the same folder."""
    small = ["network.width=8", "network.head_width=8", "training.batch_size=16", "training.steps=2"]
    assert run("train", "digits", *small, "run=d").code == 0
    train = ["train", "digits_noisy_classifier", *small, "run=c"]
    assert run(*train).code == 0
    words = ["evaluate", "d", "guidance=classifier", "guidance.classifier=c", "guidance.w=[0,2]", "num=20"]
    words += ["solver.steps=2", "classifier.training.steps=20", "classifier.network.width=4"]
    drawn = []
    monkeypatch.setattr(
        fg.solvers, "sample", lambda *a, inner=fg.solvers.sample, **k: drawn.append(1) or inner(*a, **k)
    )
    for more, points in ((None, 2), (None, 2), (["seed=1", "fresh=true"], 4)):
        assert more is None or run(*train, *more).code == 0
        assert run(*words).code == 0
        assert len(drawn) == points


def test_list(run: Run) -> None:
    everything = run("list").out
    for kind in KINDS:
        assert kind in everything
    assert "beta_min=0.1" in run("list", "paths").out
    for name in fg.solvers.names():
        assert name in run("list", "solvers").out
    assert "real 8x8 digits" in run("list", "recipes").out


def test_list_of_networks_with_what_they_cost(run: Run) -> None:
    out = run("list", "networks", "--verbose").out
    optional = {"autoencoder_kl"} if importlib.util.find_spec("diffusers") is None else set()
    for name in set(fg.networks.names()) - optional:
        assert re.search(rf"^  {name} +\d\S* .*(?: [kMGT])?$", out, re.MULTILINE), name
    # As published: 675 M parameters with the fixed positions, and 118.6 G multiplications.
    assert re.search(r"dit XL/2 +4x32x32 +1000 +674.8 M +237.2 G", out)
    assert "not counted" not in out


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help(run: Run, words: list[str]) -> None:
    assert run(*words).out == help.USAGE


@pytest.mark.parametrize("command", ["train", "sample", "evaluate", "ema", "encode", "import", "list"])
def test_help_of_a_command(run: Run, command: str) -> None:
    out = run(command, "--help").out
    assert out.startswith(f"flowguide {command}")
    assert len(out.splitlines()) > 4
    assert max(map(len, out.splitlines())) <= 120
    assert run("--version").out == f"flowguide {fg.__version__}\n"


@pytest.mark.parametrize(
    ("words", "absent"),
    [
        (["--help"], ["torch", "numpy", "hydra", "omegaconf"]),
        (["train", "--help"], ["torch", "numpy", "hydra"]),
        (["list", "paths"], ["hydra", "sklearn", "scipy", "torchmetrics", "torchdiffeq", "torchsde", "matplotlib"]),
        (["list", "couplings"], ["hydra", "sklearn", "scipy", "ot", "torchmetrics", "matplotlib"]),
        (["list", "solvers"], ["torchmetrics", "torchdiffeq", "sklearn", "matplotlib"]),
    ],
    ids=" ".join,
)
def test_imports_only_what_it_needs(words: list[str], absent: list[str]) -> None:
    code = "import sys; from flowguide.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    loaded = set(ended.stderr.split())
    assert not loaded & set(absent)


def test_a_reader_that_has_read_enough(tmp_path: Path) -> None:
    """``flowguide list | head -1``: no complaint."""
    with subprocess.Popen(
        [sys.executable, "-m", "flowguide", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as ended:
        ended.stdout.close()
        assert ended.stderr.read() == b""
    assert ended.returncode == 141


def test_another_pipe_that_broke_is_not_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(SystemExit) as ended:
        guard(command)
    assert ended.value.code == 2
    assert "Broken pipe" in capsys.readouterr().err
