"""Cascades: stages that chain, what each makes, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import flowguide as fg
from flowguide import training
from flowguide.randomness import derive
from flowguide.training import Ranks, Stage, cascade, load_stages

UNET = {"name": "unet", "width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [], "head_width": 8}
DIT = {"name": "dit", "patch": 4, "depth": 1, "width": 16, "heads": 2}
GLYPHS = {"name": "glyphs", "size": 16, "count": 16, "test_count": 16, "letters": "ABC", "colours": False}
TRAINING = {"steps": 2, "batch_size": 4, "save_every": 2, "warmup": 1}


def recipe(**changes: Any) -> dict[str, Any]:
    settings = {"data": GLYPHS, "path": {"name": "linear"}, "network": UNET, "objective": {"name": "cfm"}}
    return {**settings, "training": TRAINING, "device": "cpu", **changes}


def reduced(size: int = 8, **more: Any) -> dict[str, Any]:
    return {"name": "reduced", "size": size, "of": {**GLYPHS, **more}}


def super_resolution(size: int = 8, **more: Any) -> dict[str, Any]:
    return {"name": "low_resolution", "size": size, **more}


RECIPES = {
    "base": recipe(data=reduced()),
    "sr": recipe(conditioner=super_resolution()),
    "sr4": recipe(conditioner=super_resolution(4)),
    "clean": recipe(conditioner=super_resolution(augmentation=None)),
    "dit": recipe(conditioner=super_resolution(), network=DIT),
    "never": recipe(conditioner=super_resolution(), objective={"name": "cfm", "label_dropout": 1.0}),
    "always": recipe(conditioner=super_resolution(), objective={"name": "cfm", "label_dropout": 0.0}),
    "four": recipe(data={**GLYPHS, "letters": "ABCD"}, conditioner=super_resolution()),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    folder = tmp_path_factory.mktemp("runs")

    def trained(name: str) -> str:
        if not (folder / name).exists():
            training.train(RECIPES[name], folder / name, show=False)
            model = fg.load(folder / name, device="cpu")  # whose last layer is zero, or next to it
            for parameter in model.network.leave.parameters():
                torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(0))
            tensors = {f"ema.{key}": value for key, value in model.state_dict().items()}
            meta = {"step": 2, "config": model.config.settings()}
            training.checkpoint.write(folder / name / "checkpoints" / "step-00000002.safetensors", tensors, meta)
        return str(folder / name)

    return trained


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
