"""What every guidance rule must do, whichever it is; a rule that is registered is held to it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rules import NAMES, Counting, Toy, build, observes, options, reference, weighted
from strategies import states
from torch.testing import assert_close

import flowguide as fg
from flowguide.paths import KINDS

WEIGHTED = [name for name in NAMES if weighted(name)]
weights = st.floats(-1, 6)
close = {"rtol": 1e-7, "atol": 1e-7}


def fixed_state(dim: int = 3) -> tuple[fg.MixtureField, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A field and states at which nothing is special: what a rule does not claim should fail here."""
    g = torch.Generator().manual_seed(5)
    root = torch.randn(4, dim, dim, generator=g, dtype=torch.float64)
    mixture = fg.oracle.GaussianMixture(
        torch.ones(4),
        2 * torch.randn(4, dim, generator=g, dtype=torch.float64),
        0.3 * root @ root.mT + 0.1 * torch.eye(dim),
        torch.tensor([0, 1, 2, 1]),
    )
    x = 1.5 * torch.randn(6, dim, generator=g, dtype=torch.float64)
    t = torch.linspace(0.3, 0.8, 6, dtype=torch.float64)
    return fg.MixtureField(mixture, fg.paths.build("linear")), x, t, torch.tensor([1, 2, 1, 2, 1, 2])


def same(p: fg.paths.Prediction, q: fg.paths.Prediction) -> bool:
    return torch.allclose(p.velocity, q.velocity, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", WEIGHTED)
@given(states(), st.booleans())
def test_claims_of_w_0_and_w_1_hold(name: str, state, several: bool) -> None:
    field, x, t, y = state
    for w, claim, expected in (
        (0.0, "starts_at_reference", reference(name, field, x, t, y)),
        (1.0, "conditional_at_1", field(x, t, y)),
    ):
        rule = build(name, field, w=torch.full((len(x),), w) if several else w)
        if getattr(rule, claim):
            guided = rule(x, t, y)
            for kind in KINDS:
                assert_close(getattr(guided, kind), getattr(expected, kind), **close)


@pytest.mark.parametrize("name", WEIGHTED)
def test_what_is_not_claimed_of_w_0_and_w_1_does_not_hold(name: str) -> None:
    field, x, t, y = fixed_state()
    for w, claim, expected in (
        (0.0, "starts_at_reference", reference(name, field, x, t, y)),
        (1.0, "conditional_at_1", field(x, t, y)),
    ):
        rule = build(name, field, w=w)
        if getattr(rule, claim) is not None:
            assert same(rule(x, t, y), expected) == getattr(rule, claim), claim


def departure(name: str, field, x, t, y, w: float) -> torch.Tensor:
    """How far a rule at w is from the line through w = 0 and w = 1."""
    at = [build(name, field, w=torch.full((len(x),), v, dtype=x.dtype))(x, t, y).velocity for v in (0.0, 1.0, w)]
    return (at[2] - torch.lerp(at[0], at[1], w)).abs().max() / (1 + at[2].abs().max())


@pytest.mark.parametrize("name", WEIGHTED)
@given(states(), weights)
def test_claims_to_be_affine_in_w_hold(name: str, state, w: float) -> None:
    field, x, t, y = state
    if build(name, field).affine_in_w:
        assert departure(name, field, x, t, y, w) < 1e-9


@pytest.mark.parametrize("name", WEIGHTED)
def test_what_is_not_claimed_to_be_affine_is_not(name: str) -> None:
    field, x, t, y = fixed_state()
    if (claim := build(name, field).affine_in_w) is not None:
        assert (departure(name, field, x, t, y, 3.0) < 1e-6) == claim


@pytest.mark.parametrize("name", WEIGHTED)
@given(states())
def test_a_weight_per_sample_is_a_loop_over_samples(name: str, state) -> None:
    """And so is a schedule that gives one per sample; nor does a sample depend on the others of its batch."""
    field, x, t, y = state
    w = torch.linspace(0, 4, len(x), dtype=torch.float64)
    together = build(name, field, w=w)(x, t, y)
    scheduled = build(name, field, w=lambda t: w)(x, t, y) if name != "schedule" else together
    for i in range(len(x)):
        alone = build(name, field, w=w[i].item())(x[i : i + 1], t[i], y[i : i + 1])
        for kind in ("velocity", "data"):
            assert_close(getattr(together, kind)[i : i + 1], getattr(alone, kind), **close)
            assert_close(getattr(scheduled, kind)[i : i + 1], getattr(alone, kind), **close)


@pytest.mark.parametrize("name", [name for name in WEIGHTED if fg.guidance.registry.get(name).independent])
def test_a_weight_per_sample_goes_with_its_sample_into_every_batch(name: str) -> None:
    field = fixed_state()[0]
    y, w, solver = torch.tensor([1, 2, 1, 2, 1, 0, 0]), torch.linspace(0, 3, 7), fg.solvers.build("euler", steps=3)
    rule = build(name, field, w=w)
    shape = (7, field.mixture.dim)
    whole = fg.sample(rule, shape, y, solver, seed=1)
    assert_close(fg.sample(rule, shape, y, solver, seed=1, batch_size=3), whole, rtol=1e-4, atol=1e-5)
    of_all = build(name, field, w=1.0)
    assert not torch.allclose(fg.sample(of_all, shape, y, solver, seed=1), whole, atol=1e-2), "they matter"
    # The weights of some samples alone, for them.
    some = fg.sample(build(name, field, w=w[4:]), (3, *shape[1:]), y[4:], solver, seed=1, first=4)
    assert_close(some, whole[4:], rtol=1e-4, atol=1e-5)
    # Those of all samples, for a share of them.
    share = fg.sample(rule, (3, *shape[1:]), y[4:], solver, seed=1, first=4, batch_size=2)
    assert_close(share, whole[4:], rtol=1e-4, atol=1e-5)
    for count in (3, 5):
        with pytest.raises(ValueError, match=rf"(w|corrector) has {count} values for 6 samples"):
            fg.sample(build(name, field, w=w[:count]), (6, *shape[1:]), y[:6], solver, seed=1, batch_size=3)
    with pytest.raises(ValueError, match=r"(w|corrector) has 7 values, and there is a sample 8"):
        fg.sample(rule, (3, *shape[1:]), y[4:], solver, seed=1, first=6)


@pytest.mark.parametrize("name", NAMES)
def test_samples_drawn_in_inference_mode_are_the_same(name: str) -> None:
    """Where nothing could be differentiated, and some rules differentiate."""
    field = fixed_state()[0]
    rule, y = build(name, field), torch.tensor([1, 2, 1])
    options = {"cond": y, "solver": "euler", "seed": 1}
    outside = fg.sample(rule, (3, field.mixture.dim), **options)
    with torch.inference_mode():
        inside = fg.sample(rule, (3, field.mixture.dim), **{**options, "cond": y.clone()})
    assert torch.equal(inside, outside)
    assert not inside.is_inference()


def test_a_negative_condition_per_sample_goes_with_its_sample() -> None:
    field = fixed_state()[0]
    y, negative = torch.tensor([1, 2, 1, 2, 1]), torch.tensor([0, 0, 2, 1, 0])
    shape, solver = (5, field.mixture.dim), fg.solvers.build("euler", steps=3)
    rule = fg.guidance.build("negative", field, w=2.0, negative=negative)
    whole = fg.sample(rule, shape, y, solver, seed=1)
    assert_close(fg.sample(rule, shape, y, solver, seed=1, batch_size=2), whole, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="negative has 2 values for 5 samples"):
        fg.sample(fg.guidance.build("negative", field, w=2.0, negative=negative[:2]), shape, y, solver, batch_size=2)


@pytest.mark.parametrize("name", NAMES)
@given(states())
def test_a_sample_does_not_depend_on_its_batch(name: str, state) -> None:
    field, x, t, y = state
    rule = build(name, field, **({"w": 2.5} if weighted(name) else {}))
    together, order = rule(x, t, y), torch.tensor([4, 0, 3])
    assert_close(together.velocity[order], rule(x[order], t[order], y[order]).velocity, **close)


@pytest.mark.parametrize("name", NAMES)
@given(states())
def test_the_kinds_agree(name: str, state) -> None:
    field, x, t, y = state
    rule = build(name, field, **({"w": 2.5} if weighted(name) else {}))
    p, c = rule(x, t, y), field.path.at(t, x)
    size = 1 + p.data.abs().amax() * c.alpha + x.abs().amax()
    assert ((c.alpha * p.data + c.sigma * p.noise - x).abs() / size).max() < 1e-9
    assert_close(p.score * c.sigma, -p.noise, **close)
    again = field.path.predict("velocity", p.velocity, x, t)
    assert ((again.data - p.data).abs() / (1 + p.data.abs().amax() + x.abs().amax() / c.alpha)).max() < 1e-8


@pytest.mark.parametrize("name", WEIGHTED)
@given(states(), weights)
def test_a_constant_schedule_is_a_number(name: str, state, w: float) -> None:
    if name == "characteristic":
        w = abs(w)  # a fixed point need not exist for negative weights, and ten steps of none magnify rounding
    field, x, t, y = state
    if name == "schedule":
        number, schedule = build("cfg", field, w=w), build(name, field, w=w, shape={"name": "constant"})
    else:
        number, schedule = build(name, field, w=w), build(name, field, w={"name": "constant", "value": w})
    assert_close(schedule(x, t, y).velocity, number(x, t, y).velocity, **close)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_images_of_any_dtype(name: str, dtype: torch.dtype) -> None:
    field = Toy(fg.paths.build("linear"))
    rule = build(name, field)
    x, y = torch.randn(6, 2, 4, 4).to(dtype), torch.arange(6) % 3
    for t in (0.4, torch.linspace(0.2, 0.8, 6)):
        for cond in (y, None):
            p = rule(x, t, cond)
            for kind in KINDS:
                value = getattr(p, kind)
                assert (value.dtype, value.shape) == (dtype, x.shape)
                assert value.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    field, x, t, y = fixed_state()
    rule = build(name, field, **({"w": 2.0} if weighted(name) else {}))
    t = torch.full_like(t, 0.6)
    assert torch.autograd.gradcheck(lambda x: rule(x, t, y).velocity, x.requires_grad_(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_where_the_predictions_agree(name: str) -> None:
    """No 0 / 0 from a norm where the condition changes nothing."""
    field = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear"))
    rule = build(name, field, **({"w": 2.0} if weighted(name) else {}))
    x = torch.randn(6, 2, dtype=torch.float64).requires_grad_()
    velocity = rule(x, 0.5, field.null(6)).velocity
    assert velocity.isfinite().all()
    assert torch.autograd.grad(velocity.sum(), x)[0].isfinite().all()


# Evaluations of a field by a rule at w = 2, where it is not two; characteristic guidance has a test of its own.
EVALUATIONS = {"autoguidance": 1, "classifier": 1, "predictor_corrector": 1, "characteristic": None}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", ["linear", "vp"])
def test_evaluates_no_more_than_it_must(name: str, path: str) -> None:
    field, x, y = Counting(Toy(fg.paths.build(path))), torch.randn(6, 5), torch.arange(6) % 3
    given = {"weak": Toy(field.path)} if name == "autoguidance" else {}

    def evaluations(cond, **more) -> int:
        field.count = 0
        rule = fg.guidance.build(name, field, **{**options(name, field), **given, **more})
        rule(x, 0.5, cond)
        return field.count

    w = {"w": 2.0} if weighted(name) else {}
    expected = EVALUATIONS.get(name, 1 if observes(name) else 2)
    if expected:
        assert evaluations(y, **w) == expected
    if name != "negative":
        assert evaluations(None, **w) == 1
    if weighted(name) and build(name, field).conditional_at_1:
        assert evaluations(y, w=1.0) == 1
    if weighted(name) and build(name, field).starts_at_reference:
        assert evaluations(y, w=0.0) == (0 if name == "autoguidance" else 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", fg.paths.names())
def test_is_a_field_of_fields(name: str, path: str) -> None:
    field = Toy(fg.paths.build(path))
    rule = build(name, field)
    assert isinstance(rule, fg.Field)
    assert rule.path == field.path
    assert rule.plain is field
    assert field.t_min <= rule.t_min < rule.t_max <= field.t_max
    x, y = torch.randn(6, 2), torch.arange(6) % 3
    for t in (rule.t_min, rule.t_max):
        for kind in KINDS[:1]:
            assert getattr(rule(x, t, y), kind).isfinite().all()
    with pytest.raises(ValueError, match="guidance acts on a Field"):
        fg.guidance.build(name, lambda x, t, cond: x, **options(name, field))


@pytest.mark.parametrize("outer", NAMES)
@pytest.mark.parametrize("path", ["linear", "vp"])
def test_any_rule_nests_in_any_other(outer: str, path: str) -> None:
    field = Toy(fg.paths.build(path))
    x, y = torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 3

    def around(name: str, inner: fg.Field, w: float) -> fg.guidance.Guidance:
        needs = {"weak": Toy(field.path, 0.5)} if name == "autoguidance" else options(name, inner)
        return fg.guidance.build(name, inner, **needs, **({"w": w} if weighted(name) else {}))

    for inner in NAMES:
        rule = around(outer, around(inner, field, 2.0), 1.5)
        assert rule.plain is field
        for cond in (y, None):
            assert rule(x, 0.6, cond).velocity.isfinite().all()
        samples = fg.sample(rule, (3, 4), y[:3], fg.solvers.build("euler", steps=3))
        assert samples.isfinite().all()


@pytest.mark.parametrize("name", [n for n in NAMES if n not in {"autoguidance", "classifier"} and not observes(n)])
def test_a_field_without_conditions_is_refused(name: str) -> None:
    unconditional = fg.NetworkField(fg.networks.build("mlp", dim=2), fg.paths.build("linear"))
    with pytest.raises(ValueError, match=r"takes no conditions|takes none|no conditions at all"):
        build(name, unconditional)


class WithoutNull(Toy):
    """A field that was trained under labels alone."""

    needs_condition = True

    def null(self, batch: int) -> None:
        return None

    def predict(self, x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | None) -> fg.paths.Prediction:
        assert cond is not None, "asked without a label"
        return super().predict(x, t, cond)


@pytest.mark.parametrize(("name", "path"), [("independent_condition", "linear"), ("negative", "vp")])
def test_rules_that_need_no_null_condition(name: str, path: str) -> None:
    """The other condition is at hand, and none is ever asked for."""
    with_null, without = Toy(fg.paths.build(path)), WithoutNull(fg.paths.build(path))
    y, solver = torch.tensor([1, 2, 1]), fg.solvers.build("euler", steps=3)
    drawn = [fg.sample(build(name, field, w=2.0), (3, 4), y, solver, seed=2) for field in (with_null, without)]
    assert_close(*drawn)
    with pytest.raises(ValueError, match="it predicts nothing without one"):
        fg.sample(build(name, without, w=2.0), (3, 4), None, solver, seed=2)


@pytest.mark.parametrize("name", WEIGHTED)
def test_bad_weights_get_a_sentence(name: str) -> None:
    field = Toy(fg.paths.build("linear"))
    for w, words in (
        (float("nan"), "w must be a finite number"),
        (torch.ones(2, 2), "one weight per sample"),
        ("two", "must be a number"),
        ({"name": "lineer"}, "unknown schedule 'lineer'; did you mean 'linear'"),
        ({"name": "linear", "stop": 3}, "stop"),
    ):
        with pytest.raises(ValueError, match=words):
            build(name, field, w=w)
    with pytest.raises(ValueError, match="w has 2 weights for 6 samples"):
        build(name, field, w=[1.5, 2.0])(torch.randn(6, 4), 0.5, torch.arange(6) % 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_space_that_makes_no_sense_is_refused(name: str) -> None:
    if "space" not in fg.guidance.registry.options(name):
        return
    field = Toy(fg.paths.build("linear"))
    assert fg.guidance.registry.get(name).space in KINDS
    with pytest.raises(ValueError, match=f"{name} acts in .*, not in 'score'"):
        build(name, field, space="score")
    with pytest.raises(ValueError, match=r"'space' of guidance rule|unknown kind of prediction"):
        build(name, field, space="pixels")


@pytest.mark.parametrize("name", [name for name in NAMES if "space" in fg.guidance.registry.options(name)])
def test_rules_that_declare_a_space_depend_on_it(name: str) -> None:
    """Or it would be idle to declare; and the declared one is the default."""
    field, x, t, y = fixed_state()
    declared = fg.guidance.registry.get(name).space
    default = build(name, field, w=3.0)(x, t, y)
    assert same(build(name, field, w=3.0, space=declared)(x, t, y), default)
    others = [kind for kind in ("data", "noise", "velocity", "v") if kind != declared and name != "dynamic_threshold"]
    for kind in others:
        assert not same(build(name, field, w=3.0, space=kind)(x, t, y), default)
