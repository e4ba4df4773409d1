"""Cascades: stages that chain, what each makes, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_stages import RECIPES, UNET, WORDS, recipe, reduced, super_resolution, trained

import flowguide as fg
from flowguide import training
from flowguide.randomness import derive
from flowguide.training import Ranks, Stage, cascade, load_stages
from flowguide.training.held_out import low_resolution


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    folder = tmp_path_factory.mktemp("runs")
    return lambda name: trained(folder, name)


EULER = {"name": "euler", "steps": 2}
LABELS = torch.arange(7) % 3


def stages(run: Callable[[str], str], *names: str, **more: Any) -> list[Stage]:
    return load_stages([run(name) for name in names], {"name": "cfg", "w": 2.0}, EULER, device="cpu", **more)


@pytest.mark.parametrize("second", ["sr", "dit"])
def test_each_stage_is_shown_what_the_one_before_it_made(run: Callable[[str], str], second: str) -> None:
    """The first is sampled as its run is; the second by hand, from its own seed and with its own noise."""
    both = stages(run, "base", second, augmentation=0.25)
    small, large = cascade(both, 7, LABELS, seed=4)
    assert (small.shape, large.shape) == ((7, 1, 8, 8), (7, 1, 16, 16))
    base, sr = fg.load(run("base"), device="cpu"), fg.load(run(second), device="cpu")
    solver = fg.solvers.build("euler", steps=2)
    alone = fg.sample(fg.guidance.build("cfg", base, w=2.0), small.shape, LABELS, solver, seed=4)
    torch.testing.assert_close(small, alone)
    own = derive(4, 1)
    noise = fg.randomness.normal(small.shape, derive(own, 1))
    level = torch.full((7, 1, 8, 8), 0.25)
    image = torch.cat([(1 - 0.25**2) ** 0.5 * small.clamp(-1, 1) + 0.25 * noise, level], dim=1)
    x = sr.path.prior(large.shape, own, t=0.0)
    y, null = sr.network.join(image, LABELS), sr.network.join(image, torch.full((7,), 3))
    for t in (0.0, 0.5):
        u = [sr(x, t, cond).velocity for cond in (null, y)]
        x = x + 0.5 * (2 * u[1] - u[0])
    torch.testing.assert_close(large, x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("second", "row", "asked"),
    [
        ("told_sr", (64,), "a letter B in bold serif"),
        ("tokens", (9, 64), ["a letter A", "a letter B in bold serif", "a letter C"]),
    ],
)
def test_each_stage_is_told_the_words_in_its_own_way(
    run: Callable[[str], str], second: str, row: tuple[int, ...], asked: Any
) -> None:
    """The second by hand: the image and the caption, as its own encoder has it, guided away from the empty one."""
    both = stages(run, "told", second, augmentation=0.25)
    conds = training.cascade_conditions(both, asked, 3)
    base, sr = fg.load(run("told"), device="cpu"), fg.load(run(second), device="cpu")
    for model, cond in zip((base, sr), conds, strict=True):
        torch.testing.assert_close(cond, model.conditions(asked, 3), rtol=0, atol=0, equal_nan=True)
    assert [tuple(cond.shape) for cond in conds] == [(3, 64), (3, *row)]
    small, large = cascade(both, 3, conds, seed=4)
    alone = fg.guidance.build("cfg", base, w=2.0)
    torch.testing.assert_close(small, fg.sample(alone, small.shape, conds[0], fg.solvers.build("euler", steps=2), 4))
    shown = low_resolution(sr.config).show(small.clamp(-1, 1), 0.25, derive(derive(4, 1), 1))
    x = sr.path.prior(large.shape, derive(4, 1), t=0.0)
    none = low_resolution(sr.config).beside.null().expand(3, *row)
    y, null = sr.network.join(shown, conds[1]), sr.network.join(shown, none)
    for t in (0.0, 0.5):
        u = [sr(x, t, cond).velocity for cond in (null, y)]
        x = x + 0.5 * (2 * u[1] - u[0])
    torch.testing.assert_close(large, x, rtol=1e-3, atol=1e-3)
    with pytest.raises(AssertionError):  # and what it is told tells
        torch.testing.assert_close(cascade(both, 3, [conds[0], conds[1] + 1], seed=4)[1], large, rtol=1e-3, atol=1e-3)


def test_labels_in_one_stage_and_captions_in_another(run: Callable[[str], str]) -> None:
    """Words that suit both; and held-out samples, of which one stage is told the label and another the caption."""
    mixed = stages(run, "base", "told_sr")
    labels, captions = training.cascade_conditions(mixed, "B", 2)
    assert labels.tolist() == [1, 1]
    torch.testing.assert_close(captions, mixed[1].plain.conditions("B", 2))
    labels, captions = training.cascade_conditions(mixed, None, 20)
    test = training.build_dataset(mixed[1].plain.config, "test")
    rows = torch.arange(20) % 16
    assert torch.equal(labels, test.labels[rows])
    torch.testing.assert_close(captions, mixed[1].plain.conditions([test.captions[row] for row in rows], 20))
    assert cascade(mixed, 2, [labels[:2], captions[:2]])[1].isfinite().all()
    labels, attributes = training.cascade_conditions(stages(run, "base", "attributes"), None, 4)
    assert torch.equal(attributes[:, :3].argmax(1), labels)
    assert [each.tolist() for each in training.cascade_conditions(stages(run, "base", "sr"), None, 4)] == [
        [0, 1, 2, 0],
        [0, 1, 2, 0],
    ]
    assert training.cascade_conditions(stages(run, "base", "never"), "B", 2)[1] is None


@pytest.mark.parametrize(
    ("names", "asked", "sentence"),
    [
        (["base", "told_sr"], 1, r"told_sr: this model is told captions: cond='a red letter B'"),
        (["base", "told_sr"], "a letter B", r"/base: unknown class of \S* \(train\) 'a letter B'"),
        (["told", "sr"], {"character": "B"}, r"told: this model is told captions"),
        (["told", "attributes"], "a letter B", r"attributes: this model is told attributes: cond=\{character: A\}"),
        (["told", "tokens"], ["a letter B"], r"told: cond lists 1 captions for num=2 samples"),
    ],
)
def test_words_that_do_not_suit_a_stage(run: Callable[[str], str], names: list[str], asked: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        training.cascade_conditions(stages(run, *names), asked, 2)


def test_conditions_that_are_none(run: Callable[[str], str]) -> None:
    both = stages(run, "told", "told_sr")
    with pytest.raises(ValueError, match="conditions of 3 stages, and 2 stages"):
        cascade(both, 2, [None] * 3)
    with pytest.raises(ValueError, match=r"takes embeddings of shape \(B, 64\), not int64 of shape \(2,\)"):
        cascade(both, 2, LABELS[:2])
    with pytest.raises(ValueError, match=r"no stage of this cascade takes conditions, so cond must be null, not 'B'"):
        training.cascade_conditions(stages(run, "untold", "never"), "B", 2)


@pytest.mark.parametrize("second", ["never", "always"])
def test_a_stage_that_was_never_told_labels_or_never_without(run: Callable[[str], str], second: str) -> None:
    """It is sampled without guidance, and without labels if it knows none; guidance says what is missing."""
    nodes = [run("base"), {"run": run(second), "guidance": None}]
    made = cascade(load_stages(nodes, {"name": "cfg", "w": 2.0}, EULER, device="cpu"), 3, LABELS[:3])[-1]
    assert made.isfinite().all()
    with pytest.raises(ValueError, match="cfg needs a field with a null condition"):
        cascade(stages(run, "base", second), 3, LABELS[:3])


def test_a_sample_is_the_same_in_every_batch_and_on_every_rank(run: Callable[[str], str]) -> None:
    both = stages(run, "base", "sr")
    whole = cascade(both, 7, LABELS, seed=1)
    for each, again in zip(whole, cascade(both, 7, LABELS, seed=1, batch_size=3), strict=True):
        torch.testing.assert_close(each, again, rtol=1e-3, atol=1e-3)

    class Second(Ranks):
        """The second of two, without the first: it draws its share and keeps it."""

        def gathered(self, rows: torch.Tensor, count: int) -> torch.Tensor:
            full = whole[0] if rows.shape[1:] == whole[0].shape[1:] else whole[1]
            torch.testing.assert_close(rows, full[4:], rtol=1e-3, atol=1e-3)
            return full

    cascade(both, 7, LABELS, seed=1, ranks=Second(rank=1, world=2))


def test_the_noise_of_the_stages_is_not_the_same() -> None:
    seeds = [0, derive(0, 1), derive(derive(0, 1), 1), derive(0, 2), derive(derive(0, 2), 1)]
    draws = torch.stack([fg.randomness.normal((1, 4096), seed)[0] for seed in seeds])
    correlations = torch.corrcoef(draws) - torch.eye(5)
    assert correlations.abs().max() < 6 / 4096**0.5


def test_each_stage_has_a_guidance_solver_and_level_of_its_own(run: Callable[[str], str]) -> None:
    nodes = [
        {"run": run("base"), "guidance": None},
        {"run": run("sr"), "solver": {"name": "heun", "steps": 3}, "augmentation": 0.4},
    ]
    first, second = load_stages(nodes, {"name": "cfg", "w": 3.0}, EULER, device="cpu")
    assert (first.guidance, second.guidance) == (None, {"name": "cfg", "w": 3.0})
    assert (first.solver.evaluations, second.solver.evaluations) == (2, 6)
    assert second.level == 0.4
    assert replace(second, augmentation=None).level == 0.1
    (_, clean) = stages(run, "base", "clean")
    assert clean.level == 0
    assert cascade([first, clean], 2, LABELS[:2])[1].isfinite().all()


def test_three_stages(run: Callable[[str], str]) -> None:
    RECIPES["base4"] = recipe(data=reduced(4))
    RECIPES["middle"] = recipe(data=reduced(), conditioner=super_resolution(4))
    sizes = [each.shape[-1] for each in cascade(stages(run, "base4", "middle", "sr"), 2, LABELS[:2])]
    assert sizes == [4, 8, 16]


def test_by_itself_a_stage_is_shown_held_out_images_of_its_labels(run: Callable[[str], str]) -> None:
    field = training.load_generative(run("sr"), device="cpu")
    test = training.build_dataset(field.config, "test")
    shown = field.images(fg.fields.Run(torch.zeros(1), LABELS, first=3, count=7))
    small = fg.data.reduce(test.samples, 8)
    assert shown.shape == (7, 2, 8, 8)
    assert (shown[:, 1] == 0).all()
    for image, label in zip(shown[:, :1], LABELS, strict=True):
        among = (small == image).flatten(1).all(1)
        assert among.any()
        assert (test.labels[among] == label).all()
    drawn = training.samples(field.config, field, 7, LABELS, fg.solvers.build("euler", steps=2), batch_size=2)
    again = training.samples(field.config, field, 7, LABELS, fg.solvers.build("euler", steps=2))
    torch.testing.assert_close(drawn, again, rtol=1e-3, atol=1e-3)


def test_a_model_that_was_never_told_captions_is_asked_for_none(run: Callable[[str], str]) -> None:
    RECIPES["never_told"] = RECIPES["told_sr"] | {"objective": {"name": "cfm", "label_dropout": 1.0}}
    field = training.load_generative(run("never_told"), device="cpu")
    assert field.conditions(None, 3) is None
    assert training.cascade_conditions(stages(run, "told", "never_told"), None, 3)[1] is None
    solver = fg.solvers.build("euler", steps=2)
    assert training.samples(field.config, field, 3, field.conditions(None, 3), solver).isfinite().all()


@pytest.mark.parametrize("name", ["told_sr", "tokens", "attributes"])
def test_by_itself_a_stage_is_shown_held_out_images_of_its_captions(run: Callable[[str], str], name: str) -> None:
    """Told what a held-out sample is told, it is shown that one, or another that is told the same."""
    field = training.load_generative(run(name), device="cpu")
    test = training.build_dataset(field.config, "test")
    conds = field.conditions(None, 16)
    order = torch.tensor([5, 0, 11, 2])
    shown = field.images(fg.fields.Run(torch.zeros(1), conds[order], first=3, count=4))
    small = fg.data.reduce(test.samples, 8)
    for image, row in zip(shown[:, :1], order, strict=True):
        (among,) = (small == image).flatten(1).all(1).nonzero(as_tuple=True)
        assert len(among) == 1
        torch.testing.assert_close(conds[among[0]], conds[row], rtol=0, atol=0, equal_nan=True)


def test_a_weak_model_is_shown_the_same_images(run: Callable[[str], str]) -> None:
    """Autoguidance away from the stage itself is the stage."""
    (first, second) = stages(run, "base", "sr")
    plain = replace(second, guidance={"name": "cfg", "w": 1.0})
    weak = replace(second, guidance={"name": "autoguidance", "weak": run("sr"), "w": 3.0})
    images = first.samples(3, LABELS[:3])
    torch.testing.assert_close(
        weak.samples(3, LABELS[:3], images=images), plain.samples(3, LABELS[:3], images=images), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["base", "sr4"], r"base makes images of 1x8x8, and \S*sr4 is shown those of 1x4x4"),
        (["untold", "told_sr"], r"untold, the first stage, is told nothing, and \S*told_sr is"),
        (["base", "four"], r"the stages have other labels: \S*base has 3, and \S*four 4"),
        (["sr", "sr"], r"the first stage, \S*sr, is shown images of 8x8: put a stage that makes them before it"),
        (["base", "base"], r"base is shown no image, and so cannot come after"),
        (["base"], r"a cascade has two stages or more, cascade=\[BASE,RUN\], not 1"),
        ([], "two stages or more"),
    ],
)
def test_stages_that_do_not_chain(run: Callable[[str], str], names: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        stages(run, *names)


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        ({"augmentation": 0.7}, r"sr: augmentation=0.7 is more than was trained with, which was levels up to 0.5"),
        ({"augmentation": -1.0}, r"a level of noise in \[0, 1\], not -1"),
        ({"guidence": None}, "did you mean 'guidance'"),
        ({"solver": {"name": "eular"}}, "did you mean 'euler'"),
    ],
)
def test_mistakes_in_a_stage(run: Callable[[str], str], node: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        load_stages([run("base"), {"run": run("sr"), **node}], None, EULER, device="cpu")
    with pytest.raises(ValueError, match="a stage of a cascade is a run folder"):
        load_stages([run("base"), 3], None, EULER, device="cpu")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"network": {"name": "mlp"}}, "extra_channels, which 'mlp' has not; ddpmpp, dit, unet have it"),
        ({"network": {**UNET, "extra_channels": 3}}, "makes network.extra_channels=2, not 3: leave it out"),
        (
            {"network": {"name": "ddpmpp"}, "conditioner": super_resolution(beside=WORDS)},
            "needs a network with the option embedding, which 'ddpmpp' has not; dit, unet have it",
        ),
        ({"conditioner": super_resolution(6)}, "cannot be reduced to 6x6"),
        ({"conditioner": super_resolution(augmentation=2.0)}, r"a level of noise in \[0, 1\], not 2"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_written(
    changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=sentence):
        training.train(recipe(conditioner=super_resolution()) | changes, tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()
