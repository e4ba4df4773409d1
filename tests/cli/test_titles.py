"""Names of files of samples: plain where all is as the recipes have it, and other samples have another."""

from pathlib import Path

import flowguide as fg
from flowguide.cli.titles import title_of, words_of_weights

PLAIN = "cfg_w1_auto20_seed0"


def title(rule: dict | None = None, solver: dict | None = None, cond=None, **more) -> str:
    rule = {**fg.guidance.registry.defaults("cfg"), **(rule or {})}
    solver = {**fg.solvers.registry.defaults("auto"), **(solver or {})}
    return title_of(rule, solver, 0, cond, (), more)


def test_plain_cases_are_words() -> None:
    assert title() == title(augmentation=None) == PLAIN
    assert title({"w": 2.5}, {"steps": 8}) == "cfg_w2.5_auto8_seed0"
    assert title(cond=3) == f"{PLAIN}_cond3"
    assert title(cond="cat") == f"{PLAIN}_condcat"
    assert title_of(None, {"name": "heun", "steps": 4}, 7) == "unguided_heun4_seed7"
    assert words_of_weights("runs/x/", "runs/x", True) == []
    assert words_of_weights("runs/x", "runs/x", False) == ["last"]
    assert words_of_weights("runs/x/checkpoints/step-00000003.safetensors", "runs/x", 0.05) == [
        "step-00000003",
        "ema0.05",
    ]


def test_other_samples_have_another_name_and_the_same_ones_the_same() -> None:
    cases = [
        {},
        {"cond": 3},
        {"cond": "3"},
        {"cond": [3, 5]},
        {"cond": [5, 3]},
        {"cond": "a red letter B in serif"},
        {"cond": "a red letter C in serif"},
        {"cond": {"colour": "red"}},
        {"rule": {"w": [1, 2]}},
        {"rule": {"w": [2, 1]}},
        {"rule": {"w": {"name": "linear", "end": 4}}},
        {"rule": {"batched": False}},
        {"solver": {"t_end": 0.9}},
        {"solver": {"t_end": 0.8}},
        {"run": "runs/a"},
        {"run": "runs/b"},
        {"augmentation": 0.0},
    ]
    names = [title(**case) for case in cases]
    assert len(set(names)) == len(cases)
    assert names == [title(**case) for case in cases]
    assert all(name.startswith((PLAIN, "cfg_auto20_seed0")) and len(name) < 40 for name in names)


def test_nothing_is_overwritten(moons) -> None:
    for number, words in enumerate(
        [["cond=0"], ["cond=1"], ["cond=[0,1]"], ["solver=euler"], ["solver=euler", "solver.grid=shifted"]], 1
    ):
        for _ in range(2):
            assert moons("sample", "runs/moons", "num=2", "out=col", *words).code == 0
            assert len(list(Path("col").glob("*.safetensors"))) == number
