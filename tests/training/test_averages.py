"""Averages of weights: what they are sums of, and what can be made of them after training."""

import logging
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from tiny_runs import final, recipe, same, stop_after
from torch import Tensor, nn

import flowguide as fg
from flowguide import training
from flowguide.training import averages, checkpoint
from flowguide.training.averages import LONGEST, ExponentialAverage, PowerAverage, Profile, fit, gamma_of, sigma_rel_of
from flowguide.training.averages.power import products

widths = st.floats(0.003, LONGEST)
profiles = st.builds(Profile, widths, st.integers(1, 3000))


def shares(profile: Profile, steps: int) -> Tensor:
    """What of each step is in a power-function average, shape (steps,): the integral of p over it."""
    t = torch.arange(steps + 1, dtype=torch.float64).clamp(max=profile.step) / profile.step
    return (t ** (gamma_of(profile.sigma_rel) + 1)).diff()


def run_through(average: type, states: Sequence[Tensor], *options: float) -> Tensor:
    """The average that results from a trajectory of weights."""
    model = nn.Linear(3, 1, bias=False, dtype=torch.float64)
    kept = average(model, *options)
    for step, state in enumerate(states):
        model.weight.data.copy_(state)
        kept.update(step)
    return kept.model.weight


@given(st.floats(1e-6, LONGEST))
def test_width_and_exponent_are_inverse(sigma_rel: float) -> None:
    gamma = gamma_of(sigma_rel)
    assert gamma >= 0
    assert sigma_rel_of(gamma) == pytest.approx(sigma_rel, rel=1e-9)


@given(st.floats(0, 1e4))
def test_exponent_and_width_are_inverse(gamma: float) -> None:
    assert gamma_of(sigma_rel_of(gamma)) == pytest.approx(gamma, rel=1e-6, abs=1e-6)


def test_widths_as_published() -> None:
    """Table in the paper's appendix: gamma of 6.94 and 16.97 for 0.10 and 0.05; 1/sqrt(12) is the plain mean."""
    assert gamma_of(0.10) == pytest.approx(6.94, abs=5e-3)
    assert gamma_of(0.05) == pytest.approx(16.97, abs=5e-3)
    assert gamma_of(LONGEST) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("sigma_rel", [0, -0.1, 1e-200, 0.2888, 1.0, math.nan, math.inf])
def test_widths_that_no_average_has(sigma_rel: float) -> None:
    with pytest.raises(ValueError, match=r"is from 1e-06, the last weights, to 0\.2887"):
        gamma_of(sigma_rel)


@given(widths, st.integers(1, 60), st.integers(0, 99))
def test_the_update_is_the_sum_that_it_says(sigma_rel: float, steps: int, seed: int) -> None:
    states = torch.randn(steps, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    expected = torch.einsum("s,sij->ij", shares(Profile(sigma_rel, steps), steps), states)
    torch.testing.assert_close(run_through(PowerAverage, states, sigma_rel), expected, rtol=1e-12, atol=1e-12)


@given(widths, st.integers(2, 10**7))
def test_shares_and_decays_late_in_a_run(sigma_rel: float, step: int) -> None:
    average = PowerAverage(nn.Linear(1, 1), sigma_rel)
    assert average.decay_at(step - 1) == pytest.approx((1 - 1 / step) ** (average.gamma + 1), rel=1e-7)
    assert average.share_at(step - 1) >= 1 / step * (1 - 1e-9)


@given(st.floats(0, 0.999), st.integers(0, 10**6))
def test_the_exponential_average_warms_up(decay: float, step: int) -> None:
    model = nn.Linear(1, 1)
    assert ExponentialAverage(model, decay).decay_at(step) == min(decay, (1 + step) / (10 + step))
    assert ExponentialAverage(model, decay, 1).decay_at(step) == decay
    # Until the decay is reached it is the power-function average of gamma = h - 2, up to where that begins.
    late, power = ExponentialAverage(model, 1 - 1e-12, 10), PowerAverage(model, sigma_rel_of(8))
    assert late.share_at(step) == pytest.approx(power.share_at(step), rel=20 / (step + 1), abs=1e-9)


def test_the_exponential_average_in_numbers() -> None:
    states = torch.randn(30, 1, 3, dtype=torch.float64)
    assert torch.equal(run_through(ExponentialAverage, states, 0.0), states[-1])
    torch.manual_seed(0)
    expected = run_through(ExponentialAverage, states[:0], 0.9, 4)
    torch.manual_seed(0)
    found = run_through(ExponentialAverage, states, 0.9, 4)
    for step, state in enumerate(states):
        decay = min(0.9, (1 + step) / (4 + step))
        expected = decay * expected + (1 - decay) * state
    torch.testing.assert_close(found, expected)


@given(profiles, profiles, st.integers(0, 500))
def test_products_are_integrals(a: Profile, b: Profile, after: int) -> None:
    until = max(a.step, b.step) + after

    def share(profile: Profile, at: float) -> float:
        return min(1.0, at / profile.step) ** (gamma_of(profile.sigma_rel) + 1)

    edges = sorted({0, a.step, b.step, until})
    expected = sum(
        integrate.quad(lambda x: share(a, x) * share(b, x), low, high, epsabs=0, epsrel=1e-10, limit=200)[0]
        for low, high in pairwise(edges)
    )
    assert float(products([a], [b], until)) == pytest.approx(expected / until, rel=1e-8)
    assert torch.equal(products([a], [b], until), products([b], [a], until).T)


@given(st.lists(profiles, min_size=1, max_size=12), profiles)
def test_coefficients_sum_to_one_and_are_the_best(tracked: list[Profile], target: Profile) -> None:
    found = fit(tracked, target)
    x = torch.tensor(found.coefficients, dtype=torch.float64)
    assert float(x.sum()) == pytest.approx(1, abs=1e-9)
    until = max(each.step for each in (*tracked, target))
    gram, against = products(tracked, tracked, until), products(tracked, [target], until)[:, 0]

    def cost(x: Tensor) -> float:
        return float(x @ gram @ x - 2 * x @ against + averages.synthesis.ROUNDING * x @ x)

    for seed in range(5):
        away = torch.randn(len(x), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        assert cost(x) <= cost(x + 1e-2 * (away - away.mean())) + 1e-12


@given(st.lists(profiles, min_size=1, max_size=8, unique=True), st.data())
def test_what_was_tracked_is_found_again(tracked: list[Profile], data: st.DataObject) -> None:
    target = data.draw(st.sampled_from(tracked))
    found = fit(tracked, target)
    # The penalty on rounding may spread it over others that are as good to four digits.
    assert found.residual < 0.02


def test_the_residual_is_the_expected_error_of_a_random_walk() -> None:
    """Over that of the last weights, measured over many coordinates."""
    steps = 2000
    walk = torch.randn(steps, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).cumsum(0)
    tracked = [Profile(width, step) for step in range(250, 2001, 250) for width in (0.05, 0.1)]
    kept = torch.stack([shares(each, steps) for each in tracked]) @ walk
    for width in (0.01, 0.02, 0.25):
        target = Profile(width, steps)
        truth = shares(target, steps) @ walk
        found = fit(tracked, target)
        error = torch.tensor(found.coefficients, dtype=torch.float64) @ kept - truth
        # An integral over steps stands for a sum over them.
        assert float(error.norm() / (walk[-1] - truth).norm()) == pytest.approx(found.residual, rel=0.1)


def lengths(**changes: Any) -> dict[str, Any]:
    return recipe(training__ema_lengths=[0.05, 0.10], training__snapshot_every=5, **changes)


@pytest.mark.parametrize("step", [10, 17])
@pytest.mark.parametrize("ema", [0.9, None])
def test_averages_go_on_to_the_bit(tmp_path: Path, monkeypatch, step: int, ema: float | None) -> None:
    settings = lengths()
    settings["training"]["ema"] = ema
    training.train(settings, tmp_path / "whole", show=False)
    with monkeypatch.context() as patch:
        stop_after(patch, step)
        with pytest.raises(training.Interrupted):
            training.train(settings, tmp_path / "parts", show=False)
    # As if it had died after the checkpoint before: its later snapshots are written again.
    training.RunFolder(tmp_path / "parts").newest().unlink()
    training.train(settings, tmp_path / "parts", show=False)
    assert same(final(tmp_path / "whole"), final(tmp_path / "parts"))
    runs = [training.RunFolder(tmp_path / name).snapshots() for name in ("whole", "parts")]
    assert [file.name for file in runs[0]] == [f"step-{at:08d}.safetensors" for at in range(5, 41, 5)]
    for whole, part in zip(*runs, strict=True):
        assert same(checkpoint.read_tensors(whole), checkpoint.read_tensors(part))


def test_what_is_kept(tmp_path: Path) -> None:
    model = training.train(lengths(), tmp_path, show=False)
    parameters = sum(p.numel() for p in model.parameters())
    file, snapshot = (training.RunFolder(tmp_path).newest(), training.RunFolder(tmp_path).snapshots()[-1])
    tensors = checkpoint.read_tensors(file)
    # The weights, three averages, two moments and a step count per tensor; half precision twice.
    count = len(list(model.parameters()))
    buffers = sum(b.numel() * b.element_size() for b in model.state_dict().values()) - 4 * parameters
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    assert size == 6 * 4 * parameters + 4 * count + 4 * buffers
    assert sum(t.numel() * t.element_size() for t in checkpoint.read_tensors(snapshot).values()) == 4 * parameters + (
        buffers
    )
    # The fixed one is what it is without the others.
    training.train(recipe(), tmp_path / "without", show=False)
    without = final(tmp_path / "without")
    assert same(without, {name: tensors[name] for name in without})
    assert {name.partition("network")[0] for name in tensors.keys() - without.keys()} == {
        "averages.0.05.",
        "averages.0.1.",
    }


def test_without_an_exponential_one_the_first_length_stands_for_it(tmp_path: Path) -> None:
    settings = lengths()
    training.train(settings, tmp_path / "both", show=False)
    settings["training"]["ema"] = None
    model = training.train(settings, tmp_path / "one", show=False)
    expected = checkpoint.read_tensors(training.RunFolder(tmp_path / "both").newest(), "averages.0.05.")
    assert same(model.state_dict(), expected)
    assert same(fg.load(tmp_path / "one").state_dict(), expected)


def test_a_run_from_before_there_were_lengths_goes_on(tmp_path: Path) -> None:
    training.train(recipe(training__steps=20), tmp_path, show=False)
    training.train(recipe(training__ema_lengths=[], training__ema_warmup=10), tmp_path, show=False)
    with pytest.raises(ValueError, match=r"holds a run with training.ema_lengths=\[\], not \[0.05, 0.1\]"):
        training.train(lengths(), tmp_path, show=False)


def test_starting_over_removes_the_snapshots(tmp_path: Path) -> None:
    training.train(lengths(), tmp_path, show=False)
    training.write_averaged(tmp_path, 0.07)
    training.train(lengths(fresh=True, training__steps=10), tmp_path, show=False)
    assert [file.name for file in sorted((tmp_path / "averages").iterdir())] == [
        "step-00000005.safetensors",
        "step-00000010.safetensors",
    ]


def test_numbers_beyond_half_precision_are_kept(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    kept = averages.Averages(model, 0.9, lengths=[0.05])
    nn.init.constant_(model[0].weight, 1e5)
    model[1].num_batches_tracked += 2**40
    kept.update(0)
    snapshot = kept.snapshot()
    assert snapshot["averages.0.05.0.weight"].dtype == torch.float32
    assert snapshot["averages.0.05.0.bias"].dtype == torch.float16
    assert snapshot["buffers.1.num_batches_tracked"] == 2**40


def test_an_update_takes_no_memory() -> None:
    """There is one copy of the model per average, and no more while it moves."""
    model = nn.Sequential(*(nn.Linear(100, 100) for _ in range(3)))
    kept = averages.Averages(model, 0.9, lengths=[0.05, 0.1])
    kept.update(0)
    copies = {p.data_ptr() for each in kept.models.values() for p in each.parameters()}
    assert len(copies) == 3 * len(list(model.parameters()))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        kept.update(1)
    assert sum(max(0, event.self_cpu_memory_usage) for event in profile.events()) < 1000
    assert copies == {p.data_ptr() for each in kept.models.values() for p in each.parameters()}


@pytest.fixture(scope="module")
def moons(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Tensor]]]:
    """A run of 480 steps with 16 snapshots of two widths, and six more tracked in its checkpoint."""
    folder = tmp_path_factory.mktemp("averages") / "moons"
    tracked = [0.05, 0.10, 0.02, 0.03, 0.07, 0.15, 0.25]
    changes = {"steps": 480, "batch_size": 64, "save_every": 240, "keep": 9, "snapshot_every": 30}
    settings = recipe(data={"name": "moons", "count": 500}, training={**changes, "decay": "constant"})
    settings["training"]["ema_lengths"] = tracked
    training.train(settings, folder, show=False)
    truth = {}
    for file in training.RunFolder(folder).files():
        for width in tracked[2:]:
            truth[width, checkpoint.read_meta(file)["step"]] = checkpoint.read_tensors(file, f"averages.{width}.")
    for file in training.RunFolder(folder).snapshots():  # forget the five, to be made of the two
        tensors = {
            name: tensor
            for name, tensor in checkpoint.read_tensors(file).items()
            if not name.startswith("averages.") or name.startswith(("averages.0.05.", "averages.0.1."))
        }
        meta = checkpoint.read_meta(file)
        checkpoint.write(file, tensors, {**meta, "lengths": tracked[:2]})
    return folder, truth


def error_of(found: dict[str, Tensor], truth: dict[str, Tensor]) -> float:
    """Relative, over all parameters together."""
    names = [name for name in truth if name in found and truth[name].is_floating_point()]
    flat = [torch.cat([each[name].flatten().double() for name in names]) for each in (found, truth)]
    return float((flat[0] - flat[1]).norm() / flat[1].norm())


# Width, step, largest relative error of the weights: 2e-4 is that of half precision.
MADE = [
    (0.02, 480, 5e-3),
    (0.03, 480, 2e-3),
    (0.07, 480, 5e-4),
    (0.15, 480, 5e-4),
    (0.25, 480, 2e-3),
    (0.15, 240, 2e-3),
]


@pytest.mark.parametrize(("width", "step", "most"), MADE)
def test_a_width_that_was_not_tracked(moons, width: float, step: int, most: float) -> None:
    folder, truth = moons
    made = training.averaged(folder, width, step)
    last = checkpoint.read_tensors(training.RunFolder(folder).files()[-1], "model.")
    expected = truth[width, step]
    assert made.tensors.keys() == expected.keys()
    error = error_of(made.tensors, expected)
    assert error < most
    assert error < 0.25 * error_of(last, expected)
    loaded = fg.load(training.RunFolder(folder).files()[step // 240 - 1], ema=width).state_dict()
    assert same(loaded, made.tensors)


def published(tracked: list[Profile], target: Profile) -> Tensor:
    """The coefficients of the fit of p in L2."""
    ta, ga, tb, gb = (
        torch.tensor([value(each) for each in group], dtype=torch.float64)
        for group in (tracked, [target])
        for value in (lambda each: each.step, lambda each: gamma_of(each.sigma_rel))
    )

    def inner(ta: Tensor, ga: Tensor, tb: Tensor, gb: Tensor) -> Tensor:
        low = torch.minimum(ta, tb)
        return (ga + 1) * (gb + 1) / (ga + gb + 1) / low * (low / ta) ** (ga + 1) * (low / tb) ** (gb + 1)

    return torch.linalg.solve(inner(ta[:, None], ga[:, None], ta, ga), inner(ta, ga, tb, gb))


@pytest.mark.parametrize("width", [0.02, 0.03, 0.07, 0.15, 0.25])
def test_nearer_than_the_published_fit_with_few_snapshots(moons, width: float) -> None:
    folder, truth = moons
    files = [file for file in training.RunFolder(folder).snapshots() if int(file.stem[-8:]) % 120 == 0]
    assert len(files) == 4
    ours = error_of(averages.synthesise(files, width).tensors, truth[width, 480])
    tracked = [(file, Profile(each, int(file.stem[-8:]))) for file in files for each in (0.05, 0.10)]
    total: dict[str, Tensor] = {}
    for (file, each), x in zip(tracked, published([p for _, p in tracked], Profile(width, 480)), strict=True):
        for name, tensor in checkpoint.read_tensors(file, f"averages.{each.sigma_rel}.").items():
            total[name] = total.get(name, 0) + x * tensor.double()
    assert ours < 0.25 * error_of(total, truth[width, 480])


def test_damaged_snapshots_are_left_out(moons, tmp_path: Path, caplog) -> None:
    files = []
    for file in training.RunFolder(moons[0]).snapshots():
        files.append(tmp_path / file.name)
        files[-1].write_bytes(file.read_bytes())
    files[3].write_bytes(files[3].read_bytes()[:2000])
    (tmp_path / "step-00000999.safetensors").write_text("nothing")
    files.append(tmp_path / "step-00000999.safetensors")
    made = averages.synthesise(files, 0.07)
    assert caplog.text.count("is not a whole checkpoint") == 2
    assert caplog.text.count("left out") == 2
    assert error_of(made.tensors, moons[1][0.07, 480]) < 5e-4
    with pytest.raises(ValueError, match="is not a whole checkpoint"):
        averages.synthesise(files[3:4], 0.07)


def test_what_the_snapshots_cannot_give(moons, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    folder, _ = moons
    with caplog.at_level(logging.WARNING, "flowguide"):
        training.averaged(folder, 0.07)
        assert not caplog.text
        assert training.averaged(folder, 0.003).residual > 0.3
    assert "hold too little for an average of sigma_rel=0.003 at step 480: it is expected to miss" in caplog.text
    for step in (0, 481, -1):
        with pytest.raises(ValueError, match=f"at any step from 1 to 480, the last snapshot's, not at {step}"):
            training.averaged(folder, 0.07, step)
    with pytest.raises(ValueError, match=r"sigma_rel, is from 1e-06, .* to 0\.2887"):
        fg.load(folder, ema=0.3)
    with pytest.raises(ValueError, match="does not exist; a run folder is what"):
        fg.load(tmp_path / "none", ema=0.1)
    training.train(recipe(), tmp_path / "run", show=False)
    with pytest.raises(ValueError, match=r"no snapshots of averages in .*/run/averages.*training.ema_lengths="):
        fg.load(tmp_path / "run", ema=0.1)
    with pytest.raises(ValueError, match="is a snapshot of averages, and no checkpoint; load the run, with ema="):
        fg.load(training.RunFolder(folder).snapshots()[0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ema": None}, r"relative width, a number as 0.05 \(ema=0.05\), not None; ema=True takes"),
        ({"ema": "yes"}, r"relative width, a number as 0.05 \(ema=0.05\), not 'yes'; ema=True takes"),
        ({"path": None}, "from a run folder or a checkpoint file, named by its path, not None"),
        ({"path": None, "ema": 0.1}, "from a run folder or a checkpoint file, named by its path, not None"),
        ({"path": 3}, "named by its path, not 3"),
    ],
)
def test_load_says_what_is_wrong(arguments: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        fg.load(**{"path": tmp_path, **arguments})


def test_written_averages_load_as_checkpoints(moons) -> None:
    folder, _ = moons
    for step, name in ((None, "sigma_rel-0.070.safetensors"), (240, "sigma_rel-0.070_step-00000240.safetensors")):
        file, made = training.write_averaged(folder, 0.07, step)
        assert file == folder / "averages" / name
        loaded = fg.load(file)
        assert same(loaded.state_dict(), made.tensors)
        assert loaded.config.data["name"] == "moons"
        assert checkpoint.read_meta(file)["residual"] == made.residual
        file.unlink()


def test_a_number_is_the_width_of_the_model_that_is_guided(moons) -> None:
    folder, _ = moons
    model = fg.load(folder, ema=0.1)
    node = {**fg.guidance.registry.defaults("autoguidance"), "weak": str(folder)}
    weak = training.with_models({**node, "name": "autoguidance"}, model, 0.1)["weak"]
    assert same(weak.state_dict(), fg.load(folder).state_dict())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ema": None}, "training.ema=null leaves no average of the weights"),
        ({"ema_warmup": 0.5}, "training.ema_warmup must be at least 1"),
        ({"ema_lengths": [0.05, 0.05]}, "training.ema_lengths must differ"),
        ({"ema_lengths": [0.3]}, r"to 0\.2887"),
        ({"ema_lengths": 0.1}, "must be a list, each entry a number"),
        ({"snapshot_every": 0}, "training.snapshot_every must be at least 1, or null"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, changes: dict, words: str) -> None:
    settings = recipe()
    settings["training"] |= changes
    with pytest.raises(ValueError, match=words):
        training.train(settings, tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()


def test_thirty_two_snapshots_unless_told_otherwise() -> None:
    options = training.TrainingOptions(steps=3200, ema_lengths=[0.05])
    assert sum(options.is_snapshot(step) for step in range(1, 3201)) == 32
    assert all(training.TrainingOptions(ema_lengths=[0.1], steps=7).is_snapshot(step) for step in range(1, 8))
