"""What every diagnostic must do, whichever it is; a diagnostic that is registered is held to it."""

import math
import textwrap

import pytest
import rules
import torch
from planted import Planted, build, network, states, toy
from torch.testing import assert_close

import flowguide as fg

NAMES = fg.diagnostics.names()
POINTWISE = [name for name in NAMES if fg.diagnostics.registry.get(name).pointwise]
FIELDS = {
    "exact": toy,
    "guided": lambda: fg.guidance.build("cfg", toy(), w=3.0),
    "nested": lambda: fg.guidance.build("rescale", fg.guidance.build("cfg", toy(), w=2.0)),
    "planted": lambda: Planted(toy(), 0.7),
    "network": network,
    "guided network": lambda: fg.guidance.build("cfg", network(), w=3.0),
}


def question(count: int = 6, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, float, torch.Tensor]:
    return states(toy(), 0.5, count, dtype=dtype), 0.5, torch.ones(count, dtype=torch.long)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_findings_are_finite_and_shaped(name: str, kind: str, dtype: torch.dtype) -> None:
    diagnostic, (x, t, y) = build(name), question(dtype=dtype)
    finding = diagnostic(FIELDS[kind]().to(dtype), x, t, y)
    assert isinstance(finding.value, float)
    assert isinstance(finding.error, float)
    assert math.isfinite(finding.value)
    assert math.isfinite(finding.error)
    assert finding.error >= 0
    assert finding.per_sample.shape == (6,)
    assert finding.per_sample.dtype == dtype
    assert finding.per_sample.isfinite().all()
    assert not finding.per_sample.requires_grad
    assert finding.parts
    for key, part in finding.parts.items():
        if isinstance(part, torch.Tensor):
            assert part.isfinite().all(), key
            assert not part.requires_grad, key


@pytest.mark.parametrize("name", NAMES)
def test_float32_finds_what_float64_finds(name: str) -> None:
    field = Planted(toy(), 0.7, score=True)
    singles, doubles = (
        build(name)(field, x.to(d), t, y) for d in (torch.float32, torch.float64) for x, t, y in [question()]
    )
    assert_close(singles.per_sample.double(), doubles.per_sample, rtol=1e-3, atol=1e-3)
    assert singles.value == pytest.approx(doubles.value, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("exact", [True, False])
def test_a_sample_does_not_depend_on_its_batch(name: str, exact: bool) -> None:
    """Nor do its random probes; a diagnostic on a grid is asked with one that does not move."""
    options = {"exact": exact} if "exact" in fg.diagnostics.registry.options(name) else {}
    diagnostic = build(name, **options, **({"box": [-4, 4, -4, 4]} if name in ("helmholtz", "gauge") else {}))
    field, (x, t, y) = Planted(toy(), 0.7, score=True), question()
    together, apart = diagnostic(field, x, t, y), diagnostic(field, x[2:5], t, y[2:5], first=2)
    assert_close(together.per_sample[2:5], apart.per_sample, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", POINTWISE)
def test_a_time_and_a_label_per_sample(name: str) -> None:
    if name == "tilt_error":  # compares sets of samples, which have one time
        return
    field, (x, _, _) = fg.guidance.build("cfg", toy(), w=2.0), question()
    t, y = torch.linspace(0.3, 0.7, 6, dtype=torch.float64), torch.arange(6) % 3
    together = build(name)(field, x, t, y)
    for i in range(6):
        alone = build(name)(field, x[i : i + 1], t[i].item(), y[i : i + 1], first=i)
        assert_close(together.per_sample[i : i + 1], alone.per_sample, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", POINTWISE)
def test_a_weight_per_sample(name: str) -> None:
    if name == "tilt_error":  # has one target
        return
    x, t, y = question()
    w = torch.linspace(0, 5, 6, dtype=torch.float64)
    together = build(name)(fg.guidance.build("rescale", fg.guidance.build("cfg", network(), w=w)), x, t, y)
    for i in range(6):
        rule = fg.guidance.build("rescale", fg.guidance.build("cfg", network(), w=w[i].item()))
        alone = build(name)(rule, x[i : i + 1], t, y[i : i + 1], first=i)
        assert_close(together.per_sample[i : i + 1], alone.per_sample, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_is_all_the_randomness(name: str) -> None:
    field, (x, t, y) = network(), question()
    state = torch.get_rng_state()
    first, again = (build(name)(field, x, t, y) for _ in range(2))
    assert first.value == again.value
    assert torch.equal(first.per_sample, again.per_sample)
    assert torch.equal(state, torch.get_rng_state()), "the global generator is left alone"
    options = fg.diagnostics.registry.options(name)
    if "seed" in options and "exact" in options:
        estimates = [build(name, exact=False, probes=2, seed=s)(field, x, t, y).per_sample for s in (0, 0, 1)]
        assert torch.equal(estimates[0], estimates[1])
        if name != "asymmetry":  # in the plane |A v| is the same for all signs v
            assert not torch.equal(estimates[0], estimates[2])


@pytest.mark.parametrize("name", NAMES)
def test_leaves_no_gradients_and_works_without_recording_them(name: str) -> None:
    field, (x, t, y) = network(), question()
    with torch.no_grad():
        quiet = build(name)(field, x, t, y)
    assert_close(build(name)(field, x.requires_grad_(), t, y).per_sample, quiet.per_sample)
    assert all(parameter.grad is None for parameter in field.parameters())
    assert x.grad is None


@pytest.mark.parametrize("name", NAMES)
def test_compiled_fields(name: str) -> None:
    field, (x, t, y) = network(), question()
    compiled = torch.compile(field, backend="eager")
    assert_close(build(name)(compiled, x, t, y).per_sample, build(name)(field, x, t, y).per_sample)


@pytest.mark.parametrize("name", ["asymmetry", "fokker_planck", "circulation"])
@pytest.mark.parametrize("rule", rules.NAMES)
def test_every_guidance_rule(name: str, rule: str) -> None:
    if rule == "independent_condition":  # draws, and so exists in the run of a solver only
        return
    x, t, y = question()
    finding = build(name)(rules.build(rule, toy()), x, t, y)
    assert finding.per_sample.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_without_conditions(name: str) -> None:
    if name == "path_dependence":
        return
    x, t, _ = question()
    assert math.isfinite(build(name)(toy(), x, t).value)


@pytest.mark.parametrize("name", NAMES)
def test_one_sample(name: str) -> None:
    x, t, y = question(1)
    finding = build(name)(toy(), x, t, y)
    assert finding.per_sample.isfinite().all()
    assert finding.error == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_says_what_it_is(name: str) -> None:
    diagnostic = fg.diagnostics.build(name)
    assert diagnostic.title
    assert isinstance(diagnostic.unit, str)
    assert fg.diagnostics.registry.describe(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": torch.zeros(3)}, r"states are floating-point, of shape \(B, \*\), not torch.float32 of shape \(3,\)"),
        ({"x": torch.zeros(3, 2, dtype=torch.long)}, "states are floating-point"),
        ({"x": torch.zeros(0, 2)}, r"of shape \(0, 2\)"),
        ({"t": torch.zeros(2)}, r"one time for all or one per sample, shape \(\) or \(3,\), not \(2,\)"),
        ({"cond": torch.tensor([1])}, "one condition per sample: got 1 for 3"),
        ({"cond": torch.tensor([1, 1, 9])}, "label 9 is not one of the 3 classes"),
    ],
)
def test_bad_questions(name: str, change: dict, words: str) -> None:
    question = {"x": torch.zeros(3, 2), "t": 0.5, "cond": torch.tensor([1, 1, 1]), **change}
    with pytest.raises(ValueError, match=words):
        build(name)(toy(), **question)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_refused(name: str) -> None:
    field = network(0.5, images=True).train()
    with pytest.raises(ValueError, match=r"in training mode and drops units at random; call field.eval\(\)"):
        build(name)(field, torch.randn(2, 1, 8, 8, dtype=torch.float64), 0.5)


def test_the_example_of_the_package_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fg.diagnostics.registry, "_components", dict(fg.diagnostics.registry._components))
    lines = fg.diagnostics.__doc__.split("::\n\n")[1].split("``first``")[0]
    exec(textwrap.dedent(lines), {"fg": fg, "torch": torch})
    x, t, y = question()
    finding = fg.diagnostics.build("mine")(toy(), x, t, y)
    assert finding.value == pytest.approx(float(toy()(x, t, y).velocity.square().sum(1).mean().sqrt()))
