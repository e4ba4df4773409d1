"""Guidance rules on the command line: weights as functions of time, rules within rules, sweeps over w."""

from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import load_file

import flowguide as fg
from flowguide.evaluation import EvaluateConfig, weights_of

OBSERVE = {name for name in fg.guidance.names() if "observation" in fg.guidance.registry.options(name)}


@pytest.mark.parametrize(
    ("words", "rule", "options"),
    [
        (["guidance.w={name: linear, start: 1, end: 4}"], "cfg", {"w": lambda t: 1 + 3 * t}),
        (["guidance=schedule", "guidance.w=4"], "cfg", {"w": lambda t: 1 + 3 * t}),
        (["guidance=interval", "guidance.w=3", "guidance.low=0", "guidance.high=1"], "cfg", {"w": 3.0}),
        (
            ["guidance=interval", "guidance.w=3", "guidance.rule={name: apg, eta: 0.5, space: v}"],
            "apg",
            {"w": 3.0, "eta": 0.5, "space": "v"},
        ),
        (["guidance=negative", "guidance.negative=1", "guidance.w=2"], "negative", {"negative": 1, "w": 2.0}),
        (["guidance=multi", "guidance.labels=[1]", "guidance.w=2"], "multi", {"labels": [1], "w": 2.0}),
    ],
)
def test_sampling_with_a_rule(moons, words: list[str], rule: str, options: dict) -> None:
    assert moons("sample", "runs/moons", "num=6", "solver.steps=3", *words).code == 0
    (file,) = Path("runs/moons/samples").glob("*.safetensors")
    field = fg.guidance.build(rule, fg.load("runs/moons"), **options)
    expected = fg.sample(field, (6, 2), torch.arange(6) % 2, fg.solvers.build("auto", steps=3))
    torch.testing.assert_close(load_file(file)["data"], expected, rtol=1e-4, atol=1e-5)


def test_every_rule_runs_or_says_what_it_needs(moons) -> None:
    for name in fg.guidance.names():
        single = ["solver=ddim"] if name in {"smc", "predictor_corrector", "feedback"} else []
        ended = moons("sample", "runs/moons", f"guidance={name}", "num=2", *single, "solver.steps=2")
        if ended.code:
            assert name in {"autoguidance", "classifier", "negative"} | OBSERVE
            assert name in ended.sentence


def test_rules_with_an_observation(moons) -> None:
    """Named, or with its options; what was seen as a number, a list, or a file with a row for every sample."""
    moons_seen = torch.linspace(-1, 1, 12).reshape(6, 2)
    numpy.save("seen.npy", moons_seen.numpy())
    mask = fg.observations.build("mask", hidden="top", std=0.3)
    for name in OBSERVE:
        for said, observed in (("seen.npy", moons_seen), ("[0.5,0.2]", torch.tensor([0.5, 0.2])), ("0.3", 0.3)):
            words = [f"guidance={name}", "guidance.observation={name: mask, hidden: top, std: 0.3}"]
            words += [f"guidance.observed={said}", "solver=ddim", "solver.steps=3", "num=6", "batch_size=4"]
            assert moons("sample", "runs/moons", *words).code == 0
            rule = fg.guidance.build(name, fg.load("runs/moons"), observation=mask, observed=observed)
            expected = fg.sample(rule, (6, 2), torch.arange(6) % 2, fg.solvers.build("ddim", steps=3))
            (file,) = Path("runs/moons/samples").glob(f"{name}_*.safetensors")
            torch.testing.assert_close(load_file(file)["data"], expected, rtol=1e-4, atol=1e-4)
            file.unlink()


MISTAKES = [
    (["guidance=dps"], "option 'observation' of guidance rule 'dps' must be"),
    (["guidance=dps", "guidance.observation=mask"], "nothing to be guided by: give observed=..., numbers or"),
    (["guidance=dps", "guidance.observation=maks", "guidance.observed=0"], "unknown observation 'maks'; did you mean"),
    (["guidance=dps", "guidance.observation=mask", "guidance.observed=no.npy"], "names the file no.npy, and there is"),
    (["guidance=dps", "guidance.observation={name: mask, std: -1}", "guidance.observed=0"], "at least 0, not -1"),
    (["guidance=pigdm", "guidance.observation=downsample", "guidance.observed=0"], "downsample takes images"),
    (["guidance=repaint", "guidance.observation=mask", "guidance.observed=0"], "choose a solver of single steps"),
    (["guidance.w={name: liner}"], "unknown schedule 'liner'; did you mean 'linear'"),
    (["guidance.w={start: 1}"], "a schedule needs a name"),
    (["guidance=interval", "guidance.low=0.8", "guidance.high=0.2"], "low < high"),
    (["guidance=interval", "guidance.rule=agp"], "unknown guidance rule 'agp'; did you mean 'apg'"),
    (["guidance=apg", "guidance.space=score"], "apg acts in data or noise or velocity or v, not in 'score'"),
]


def test_mistakes_get_a_sentence(moons) -> None:
    for words, sentence in MISTAKES:
        assert sentence in moons("sample", "runs/moons", *words).sentence


NEEDS_MORE = {"autoguidance", "classifier", "feedback"} | OBSERVE  # a model, a weight, something to see


@pytest.mark.parametrize("name", [name for name in fg.guidance.names() if name not in NEEDS_MORE])
def test_a_list_of_weights_is_a_sweep(name: str) -> None:
    """As ``flowguide evaluate`` builds a rule per weight."""
    field = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear"))
    needs = {"negative": 0} if name == "negative" else {}
    node = {**fg.guidance.registry.defaults(name), **needs, "w": [0, 1, 2.5]}
    for w in weights_of(node):
        rule = fg.guidance.registry.build_from({**node, "w": w}, field)
        assert rule(torch.zeros(3, 2), 0.5, torch.arange(3)).velocity.isfinite().all()


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"name": "cfg", "w": 2}, {2.0: 2.0}),
        ({"name": "cfg", "w": [0, 2.5]}, {0.0: 0.0, 2.5: 2.5}),
        ({"name": "cfg", "w": {"name": "linear", "end": 4}}, {"linear 4": {"name": "linear", "end": 4}}),
        ({"name": "cfg", "w": [1, {"name": "cosine"}]}, {1.0: 1.0, "cosine": {"name": "cosine"}}),
        ({"name": "feedback"}, {None: None}),
        # What the user leaves open, the recipe says, of a rule that has a weight.
        ({"name": "cfg", "w": None}, {0.0: 0.0, 3.0: 3.0}),
        ({"name": "feedback", "w": None}, {None: None}),
        ({"name": "feedback", "w": 2}, {2.0: 2.0}),
        ({"w": None}, {None: None}),
        (None, {None: None}),
    ],
)
def test_weights_to_evaluate_are_numbers_schedules_or_none(node: dict | None, expected: dict) -> None:
    common = {"run": "r", "home": "r", "out": "r", "solver": {}, "metrics": ["label_accuracy"], "classifier": {}}
    assert EvaluateConfig(**common, guidance=node, weights=[0, 3]).swept == expected


@pytest.mark.parametrize("w", [[], "three", None, [True], [1, {"start": 1}]])
def test_other_weights_to_evaluate_are_refused(w) -> None:
    common = {"run": "r", "home": "r", "out": "r", "solver": {}, "metrics": ["label_accuracy"], "classifier": {}}
    with pytest.raises(ValueError, match=r"guidance.w must be a number or a list of numbers"):
        _ = EvaluateConfig(**common, guidance={"name": "cfg", "w": w}).swept
