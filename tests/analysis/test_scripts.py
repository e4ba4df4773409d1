"""The analysis scripts draw what they say, on a tiny run, and answer mistakes with a sentence."""

import csv
import json
from pathlib import Path
from typing import Any

import classifier_accuracy
import inpainting
import pytest
import quality_vs_w
import quickstart
import samples
import steps
import torch
import trajectories
import yaml
from drawn import SMALL, is_drawn

import flowguide as fg
from flowguide import drawing
from flowguide.cli import main, recipes, script

JUDGE = ["classifier.training.steps=20", "classifier.network.width=4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    main(["train", "digits", *SMALL, f"run={folder}"])
    return folder


def test_quality_vs_w(run: Path) -> None:
    words = [str(run), "guidance.w=[0,1,3]", "seeds=[0,1]", "num=20", "solver.steps=2", *JUDGE]
    script(quality_vs_w.quality_vs_w, "analysis/quality_vs_w", words, example="x")
    assert is_drawn(run / "analysis" / "quality_vs_w")
    result = json.loads((run / "analysis" / "quality.json").read_text())
    assert [row["w"] for row in result["summary"]] == [0, 1, 3, None]
    assert "flowguide's own classifier" in result["features"]
    assert result["features"].endswith("; not Inception FID or IS")


def test_the_figure_marks_the_best_w() -> None:
    about = {"features": "f; not Inception FID or IS", "num": 5, "evaluations": 3.0}
    values = {0.0: 3.0, 1.0: 1.0, 2.0: 2.0, None: 0.5}
    rows = [
        {
            "rule": "cfg" if w is not None else "real data",
            "w": w,
            "seed": s,
            "label_accuracy": v,
            "frechet_distance": v,
            **about,
        }
        for w, v in values.items()
        for s in (0, 1)
    ]
    figure = quality_vs_w.figure(rows, ["frechet_distance", "label_accuracy"])
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["lowest at w = 1: 1", "highest at w = 0: 3"]
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in figure.axes)
    assert "not Inception FID" in figure.get_supxlabel()


def test_quality_of_several_rules(run: Path, capsys) -> None:
    """Each with its own options, weights and solver; evaluations are counted in the network."""
    listed = [
        "cfg",
        "{name: interval, low: 0.5, w: [2]}",
        "{name: feedback, pi: 0.9, solver: {name: ddim, eta: 1, steps: 3}}",
        "{name: autoguidance, weak: no/where}",
    ]
    words = [str(run), f"rules=[{','.join(listed)}]", "guidance.w=[1,3]", "seeds=[0,1]", "num=20", "solver.steps=4"]
    words += ["metrics=[frechet_distance,precision,recall]", *JUDGE]
    script(quality_vs_w.quality_vs_w, "analysis/quality_vs_w", words, example="x")
    assert is_drawn(run / "analysis" / "quality_of_rules")
    said = capsys.readouterr().out
    assert "autoguidance: left out, there is no run no/where" in said
    result = json.loads((run / "analysis" / "quality_of_rules.json").read_text())
    assert [(row["rule"], row["w"], row["seed"]) for row in result["rows"]] == [
        *(("cfg", w, seed) for w in (1, 3) for seed in (0, 1)),
        *(("interval", 2, seed) for seed in (0, 1)),
        *(("feedback", None, seed) for seed in (0, 1)),
        ("real data", None, None),
    ]
    assert [row["evaluations"] for row in result["rows"][::2]] == [4, 8, 6, 6, 0]
    cfg, interval, _ = result["best"]
    assert cfg["gain"] == 0
    means = [sum(row["frechet_distance"] for row in result["rows"] if row["rule"] == r) for r in ("interval",)]
    assert interval["gain"] == pytest.approx(cfg["frechet_distance"] - means[0] / 2)
    rows = list(csv.DictReader((run / "analysis" / "quality_of_rules.csv").open()))
    assert len(rows) == 9


def test_quality_of_several_averages(tmp_path: Path, capsys) -> None:
    run = tmp_path / "digits"
    main(["train", "digits", *SMALL, "training.ema_lengths=[0.05,0.1]", "training.snapshot_every=1", f"run={run}"])
    words = [
        str(run),
        "ema=[true,0.08,0.15,false]",
        "guidance.w=[1,3]",
        "seeds=[0,1]",
        "num=20",
        "solver.steps=2",
        *JUDGE,
    ]
    script(quality_vs_w.quality_vs_w, "analysis/quality_vs_w", words, example="x")
    assert is_drawn(run / "analysis" / "quality_of_averages")
    rows = list(csv.DictReader((run / "analysis" / "quality_of_averages.csv").open()))
    assert [(row["rule"], row["sigma_rel"]) for row in rows[::4]] == [
        ("as trained", ""),
        ("EMA 0.08", "0.08"),
        ("EMA 0.15", "0.15"),
        ("last step", ""),
        ("real data", ""),
    ]
    assert "EMA 0.15" in capsys.readouterr().out
    result = json.loads((run / "analysis" / "quality_of_averages.json").read_text())
    assert result["best"][0]["gain"] == 0
    # Points are kept by the weights that they are of.
    kept = json.loads((run / "evaluation" / "points.json").read_text())
    assert len(kept) == 16
    with pytest.raises(SystemExit):
        script(quality_vs_w.quality_vs_w, "analysis/quality_vs_w", [*words, "rules=[apg]"], example="x")
    assert "set rules or ema, and not both" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "given", "labels", "evaluations"),
    [
        ("solvers", "[euler,{name: heun, steps: 2},{name: heun, steps: 3}]", ["euler", "heun 2", "heun 3"], [4, 4, 6]),
        ("steps", "[2,1]", ["1 step", "2 steps"], [1, 2]),
    ],
)
def test_quality_of_several_solvers(run: Path, name: str, given: str, labels: Any, evaluations: Any) -> None:
    words = [str(run), f"{name}={given}", "guidance.w=[1]", "num=20", "solver=euler", "solver.steps=4", "seeds=[0]"]
    script(quality_vs_w.quality_vs_w, "analysis/quality_vs_w", [*words, *JUDGE], example="x")
    file = run / "analysis" / f"quality_of_{name}"
    assert is_drawn(file)
    rows = json.loads(file.with_suffix(".json").read_text())["rows"]
    assert [row["rule"] for row in rows] == [*labels, "real data"]
    assert [row["evaluations"] for row in rows[:-1]] == evaluations


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("solvers=[]", "solvers must be a list of solvers"),
        ("solvers=[{steps: 3}]", "each of the solvers is a name or a node"),
        ("solvers=[hune]", "unknown solver 'hune'; did you mean 'heun'"),
        ("steps=4", "steps must be a list of numbers of steps"),
        ("steps=[0]", "each at least 1, not [0]"),
    ],
)
def test_solvers_that_are_none(run: Path, words: str, sentence: str, capsys) -> None:
    with pytest.raises(SystemExit):
        script(quality_vs_w.quality_vs_w, "analysis/quality_vs_w", [str(run), words, "num=20", *JUDGE], example="x")
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ("[]", "rules must be 'every' or a list of rules"),
        ("some", "rules must be 'every' or a list of rules"),
        ("[3]", "each of the rules is a name or a node"),
        ("[cgf]", "unknown guidance rule 'cgf'; did you mean 'cfg'"),
        ("[{name: autoguidance, weak: no/where}]", "none of the curves could be measured"),
        ("[{name: cfg, ww: 3}]", "unknown option of guidance rule 'cfg': 'ww'"),
    ],
)
def test_mistakes_in_the_list_of_rules(run: Path, capsys, rules: str, sentence: str) -> None:
    with pytest.raises(SystemExit):
        script(quality_vs_w.quality_vs_w, "analysis/quality_vs_w", [str(run), f"rules={rules}", *JUDGE], example="x")
    assert sentence in capsys.readouterr().err


def test_every_rule_is_in_the_list_of_every_rule() -> None:
    recipe = yaml.safe_load((recipes.folder() / "analysis" / "quality_vs_w.yaml").read_text())
    listed = [rule if isinstance(rule, str) else rule["name"] for rule in recipe["every"]]
    observing = {n for n in fg.guidance.names() if "observation" in fg.guidance.registry.options(n)}  # another task
    assert set(listed) == set(fg.guidance.names()) - observing
    assert listed[0] == "cfg"


def test_steps(run: Path) -> None:
    words = [str(run), "nfe=[2,4]", "solvers=[{name: auto}, {name: rk4}, {name: dpmpp_2m_sde, grid: log_snr}]"]
    words += ["guidance.w=[1,2]", "seeds=[0]", "num=20", *JUDGE]
    script(steps.steps, "analysis/steps", words, example="x")
    assert is_drawn(run / "analysis" / "steps")
    rows = list(csv.DictReader((run / "analysis" / "steps.csv").open()))
    assert [(r["solver"], r["nfe"], r["steps"], r["w"]) for r in rows[:5]] == [
        ("auto", "2", "2", "1.0"),
        ("auto", "2", "2", "2.0"),
        ("auto", "4", "4", "1.0"),
        ("auto", "4", "4", "2.0"),
        ("rk4", "4", "1", "1.0"),  # which takes four evaluations a step
    ]
    assert rows[-1]["solver"] == "real data"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nfe=[0]"], "nfe must be a list of numbers of evaluations"),
        (["solvers=[]"], "solvers must be a list of solver nodes"),
        (["solvers=[{name: torchdiffeq}]"], "torchdiffeq chooses its own number of evaluations"),
        (["solvers=[{name: heunn}]"], "did you mean 'heun'"),
    ],
)
def test_steps_says_what_is_wrong(run: Path, words: list[str], sentence: str, capsys) -> None:
    with pytest.raises(SystemExit):
        script(steps.steps, "analysis/steps", [str(run), *words], example="x")
    assert sentence in capsys.readouterr().err


def test_trajectories_of_the_sde(tmp_path: Path) -> None:
    words = ["solver=euler_maruyama", "solver.diffusion=matched", "solver.steps=20", "num=40", f"out={tmp_path}"]
    script(trajectories.trajectories, "analysis/trajectories", words)
    assert is_drawn(tmp_path / "trajectories")


def test_samples(run: Path) -> None:
    script(
        samples.samples, "analysis/samples", [str(run), "guidance.w=[0,2]", "repeats=2", "solver.steps=2"], example="x"
    )
    assert is_drawn(run / "analysis" / "samples")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "classifier"
    main(["train", "digits_noisy_classifier", *SMALL, "training.steps=60", f"run={folder}"])
    return folder


def test_classifier_accuracy(classifier: Path) -> None:
    words = [str(classifier), "times=3", "draws=2"]
    script(classifier_accuracy.classifier_accuracy, "analysis/classifier_accuracy", words, example="x")
    assert is_drawn(classifier / "analysis" / "classifier_accuracy")
    result = json.loads((classifier / "analysis" / "classifier_accuracy.json").read_text())
    first, _, last = result["rows"]
    assert (first["t"], last["t"]) == (0, 1)
    assert abs(first["accuracy"] - 0.1) < 0.1
    assert last["accuracy"] > first["accuracy"]
    assert result["chance"] < 0.12
    rows = list(csv.DictReader((classifier / "analysis" / "classifier_accuracy.csv").open()))
    assert [float(row["accuracy"]) for row in rows] == [row["accuracy"] for row in result["rows"]]


def test_trajectories(tmp_path: Path) -> None:
    out = tmp_path / "toy"
    script(trajectories.trajectories, "analysis/trajectories", [f"out={out}", "num=200", "drawn=10", "solver.steps=10"])
    assert is_drawn(out / "trajectories")
    result = json.loads((out / "trajectories.json").read_text())
    assert result["samples"]["w=3"]["posterior"] > result["samples"]["w=1"]["posterior"] > 0.9
    # Guided samples lie farther out than the class does, and closer together.
    assert result["samples"]["w=3"]["mean"][0] > result["data of the class"]["mean"][0] + 0.2
    assert result["samples"]["w=3"]["std"][0] < result["data of the class"]["std"][0]
    rows = list(csv.DictReader((out / "trajectories.csv").open()))
    assert len(rows) == 3 * 11 * 10


def test_trajectories_guided_by_a_trained_classifier(tmp_path: Path) -> None:
    classifier, out = tmp_path / "classifier", tmp_path / "toy"
    tiny = ["training.steps=200", "training.batch_size=64", "network.width=16", "data.count=500", "device=cpu"]
    chosen = ["data=eight_gaussians", "network=mlp_classifier", "objective=noisy_classifier"]
    main(["train", "moons", *chosen, *tiny, f"run={classifier}"])
    words = ["guidance=classifier", f"guidance.classifier={classifier}", "guidance.w=[0,3]", f"out={out}"]
    script(trajectories.trajectories, "analysis/trajectories", [*words, "num=100", "solver.steps=10"])
    result = json.loads((out / "trajectories.json").read_text())["samples"]
    assert result["w=3"]["posterior"] > 0.5 > result["w=0"]["posterior"]


@pytest.mark.parametrize(
    ("task", "name", "words", "expected"),
    [
        (samples.samples, "samples", [], "which run?"),
        (samples.samples, "samples", ["nowhere"], "nowhere does not exist"),
        (samples.samples, "samples", ["{run}", "repeats=0"], "repeats must be an integer of at least 1"),
        (
            classifier_accuracy.classifier_accuracy,
            "classifier_accuracy",
            ["{run}"],
            "holds a NetworkField, and this draws",
        ),
        (
            classifier_accuracy.classifier_accuracy,
            "classifier_accuracy",
            ["{run}", "draws=0"],
            "draws must be an integer",
        ),
        (classifier_accuracy.classifier_accuracy, "classifier_accuracy", ["{run}", "times=1"], "at least 2, not 1"),
        (trajectories.trajectories, "trajectories", ["num=0"], "num must be an integer of at least 1"),
        (
            trajectories.trajectories,
            "trajectories",
            ["cond=9", "solver.steps=2"],
            "label 9 is not one of the 8 classes",
        ),
        (trajectories.trajectories, "trajectories", ["toy.std=x"], "must be a number"),
        (trajectories.trajectories, "trajectories", ["cond=x"], "'cond' of the script must be an integer"),
        (trajectories.trajectories, "trajectories", ["+foo=1"], "unknown option of the script: 'foo'"),
        (trajectories.trajectories, "trajectories", ["~guidance"], "guidance"),
        (samples.samples, "samples", ["{run}", "~guidance"], "guidance"),
        (samples.samples, "samples", ["{run}", "+foo=1"], "unknown option of the script: 'foo'"),
        (quality_vs_w.quality_vs_w, "quality_vs_w", ["{run}", "guidance.w=[a]"], "guidance.w must be"),
    ],
)
def test_mistakes(run: Path, tmp_path, monkeypatch, capsys, task, name: str, words: list[str], expected: str) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word.format(run=run) for word in words]
    with pytest.raises(SystemExit) as end:
        script(task, f"analysis/{name}", words, example="x" if name != "trajectories" else None)
    assert end.value.code == 2
    assert expected in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    script(samples.samples, "analysis/samples", ["--help"])
    assert "python analysis/samples.py runs/digits" in capsys.readouterr().out


def test_the_closing_table() -> None:
    fd = {0: 9.0, 1: 1.2, 2: 1.5, 8: 9.0, None: 1.0}
    score = {0: 8.0, 1: 9.8, 2: 9.9, 8: 9.9, None: 9.9}
    accuracy = {0: 0.1, 1: 0.98, 2: 0.98, 8: 1.0, None: 1.0}
    rows = [
        {
            "rule": "cfg" if w is not None else "real data",
            "w": w,
            "evaluations": 20.0,
            "frechet_distance": fd[w],
            "inception_score": score[w],
            "label_accuracy": accuracy[w],
        }
        for w in fd
    ]
    table = quickstart.closing(rows)
    assert table.count("MISSED") == 1
    assert table.count("reached") == 5
    assert "1.25 *" in table


def test_tiles() -> None:
    images = torch.stack([torch.full((1, 2, 2), v) for v in (-1.0, 0.0, 3.0)])
    picture = drawing.tile(images, columns=2)
    assert picture.shape == (7, 7, 1)
    assert picture[1, 1, 0] == 0
    assert picture[1, 4, 0] == 0.5
    assert picture[4, 1, 0] == 1, "out of range is clipped"
    assert picture[0].min() == 1, "the gaps are white"
    with pytest.raises(ValueError, match="1 or 3 channels, not 2"):
        drawing.save_images(torch.zeros(1, 2, 4, 4), Path("x.png"), 1)


def test_inpainting(run: Path, capsys) -> None:
    rules = "rules=[{name: repaint, resamples: 2, jump: 1}, dps, {name: pigdm, solver: {steps: 3}}]"
    words = [str(run), rules, "num=12", "shown=5", "solver.steps=2", *JUDGE]
    script(inpainting.inpainting, "analysis/inpainting", words, example="x")
    assert is_drawn(run / "analysis" / "inpainting")
    rows = list(csv.DictReader((run / "analysis" / "inpainting.csv").open()))
    names = ["truth", "as seen", "no rule", "repaint, resamples 2, jump 1", "dps", "pigdm"]
    assert [row["rule"] for row in rows] == names
    assert [float(row["evaluations"]) for row in rows] == [0, 0, 2, 3, 2, 3]
    assert float(rows[0]["rmse"]) == 0
    assert float(rows[1]["rmse_seen"]) == pytest.approx(0.05, abs=0.01)  # the noise, and next to nothing besides
    assert "repaint, resamples 2" in capsys.readouterr().out
    down = ["observation=downsample", "rules=[reconstruction]", "num=3", "shown=3", "solver.steps=2", *JUDGE]
    script(inpainting.inpainting, "analysis/inpainting", [str(run), *down], example="x")
    assert len(list(csv.DictReader((run / "analysis" / "inpainting.csv").open()))) == 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["rules=[cfg]"], "cfg is guided by no observation: take dps"),
        (["rules=[dsp]"], "unknown guidance rule 'dsp'; did you mean 'dps'"),
        (["rules=[]"], "rules must be a list of rules"),
        (["shown=0"], "shown is how many of the num=100 images are drawn, not 0"),
        (["batch_size=0"], "batch_size must be an integer of at least 1, not 0"),
        (["observation={name: downsample, factor: 3}"], "that blocks of 3 x 3 fill, not samples of shape (1, 8, 8)"),
        (["observation={name: mask, std: -1}"], "std is the standard deviation of the noise, at least 0, not -1"),
    ],
)
def test_mistakes_of_inpainting(run: Path, capsys, words: list[str], sentence: str) -> None:
    with pytest.raises(SystemExit):
        script(inpainting.inpainting, "analysis/inpainting", [str(run), *words, *JUDGE], example="x")
    assert sentence in capsys.readouterr().err
