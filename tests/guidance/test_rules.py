"""What is true of one guidance rule or another: closed forms, exactness on Gaussians, geometry."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rules import Toy
from strategies import generator, path_names, seeds, states
from torch import Tensor
from torch.testing import assert_close

import flowguide as fg

close = {"rtol": 1e-8, "atol": 1e-8}
weights = st.floats(-2, 6)


def dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1, keepdim=True)


class Versus(fg.Field):
    """A field whose null condition is the label 1: cfg on it guides away from that label."""

    def __init__(self, field: fg.MixtureField) -> None:
        super().__init__()
        self.field, self.path, self.num_classes = field, field.path, field.num_classes

    def null(self, batch: int) -> Tensor:
        return torch.full((batch,), 1)

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> fg.paths.Prediction:
        return self.field(x, t, self.null(len(x)) if cond is None else cond)


def tilted(means: Tensor, covariances: Tensor, w: float, path: fg.paths.Path) -> fg.MixtureField:
    """The field of N_1^(1 - w) N_0^w, a Gaussian again."""
    p0, p1 = torch.linalg.inv(covariances)
    covariance = torch.linalg.inv((1 - w) * p1 + w * p0)
    mean = covariance @ ((1 - w) * p1 @ means[1] + w * p0 @ means[0])
    gaussian = fg.oracle.GaussianMixture(torch.ones(1), mean[None], (covariance + covariance.mT)[None] / 2)
    return fg.MixtureField(gaussian, path)


@given(seeds, st.integers(1, 3), st.floats(0, 4), path_names)
def test_characteristic_is_exact_for_gaussians_of_any_covariances(seed: int, dim: int, w: float, path: str) -> None:
    g = generator(seed)
    roots = torch.randn(2, dim, dim, generator=g, dtype=torch.float64)
    narrow, extra = 0.3 * roots @ roots.mT + 0.1 * torch.eye(dim, dtype=torch.float64)
    covariances = torch.stack([narrow, narrow + extra])  # narrower with the condition, so that every tilt is a law
    means = torch.randn(2, dim, generator=g, dtype=torch.float64)
    field = fg.MixtureField(fg.oracle.GaussianMixture(torch.ones(2), means, covariances), fg.paths.build(path))
    exact = tilted(means, covariances, w, field.path)
    options = {"iterations": 100, "tolerance": 1e-11, "history": 5}
    rule = fg.guidance.build("characteristic", Versus(field), w=w, **options)
    x, t = torch.randn(5, dim, generator=g, dtype=torch.float64), 0.05 + 0.9 * torch.rand(5, generator=g).double()
    y = torch.zeros(5, dtype=torch.int64)
    found, expected = rule(x, t, y), exact(x, t)
    assert_close(found.data, expected.data, rtol=1e-7, atol=1e-7)
    assert_close(found.noise, expected.noise, rtol=1e-6, atol=1e-6)
    if w > 1.5:
        plain = fg.guidance.build("cfg", Versus(field), w=w)(x, t, y)
        assert not torch.allclose(plain.data, expected.data, rtol=1e-3, atol=1e-3)


def flow_of_a_line(rule: fg.Field, steps: int = 150) -> tuple[float, float]:
    """Mean and standard deviation of a linear flow's image of N(0, 1), from the images of 0 and 1."""
    start = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    grid = {"name": "cosine"}
    solver = fg.solvers.build("rk4", steps=steps, grid=grid, t_start=rule.t_min, t_end=rule.t_max)
    start = start * float(rule.path.sigma(torch.tensor(solver.t_start, dtype=torch.float64)))
    low, high = solver.solve(rule, start, torch.zeros(2, dtype=torch.int64))[:, 0].tolist()
    return low, high - low


def test_closed_forms_of_a_gaussian_given_a_gaussian() -> None:
    """Unconditional N(0, 1), conditional N(1, 1/4), w = 3: the tilted law is N(1.2, 0.1), which cfg's flow misses."""
    means, covariances = torch.tensor([[1.0], [0.0]]).double(), torch.tensor([[[0.25]], [[1.0]]]).double()
    for path in ("linear", "cosine"):
        mixture = fg.oracle.GaussianMixture(torch.ones(2), means, covariances)
        field = Versus(fg.MixtureField(mixture, fg.paths.build(path)))
        mean, std = flow_of_a_line(fg.guidance.build("cfg", field, w=3.0))
        assert_close((mean, std), (1.5, 0.125), rtol=0.003, atol=0)
        options = {"iterations": 60, "tolerance": 1e-9}
        mean, std = flow_of_a_line(fg.guidance.build("characteristic", field, w=3.0, **options))
        assert_close((mean, std), (1.2, math.sqrt(0.1)), rtol=0.003, atol=0)


def test_characteristic_of_no_steps_is_cfg_and_few_steps_cost_two_evaluations_each() -> None:
    from rules import Counting

    field = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear"))
    x, y = torch.randn(70, 2, dtype=torch.float64), torch.arange(70) % 3
    none, cfg = (
        fg.guidance.build(n, field, w=2.0, **o)(x, 0.5, y)
        for n, o in (("characteristic", {"iterations": 0}), ("cfg", {}))
    )
    assert_close(none.data, cfg.data, **close)
    counting = Counting(field)
    fg.guidance.build("characteristic", counting, w=2.0, iterations=3, tolerance=0.0)(x, 0.5, y)
    assert counting.count == 2 + 3 * 2
    counting.count = 0
    fg.guidance.build("characteristic", counting, w=2.0, iterations=3, tolerance=1e9)(x, 0.5, y)
    assert counting.count == 2


@given(states(), weights)
def test_apg_without_projection_is_cfg_and_with_it_leaves_the_parallel_part(state, w: float) -> None:
    field, x, t, y = state
    u, c = field(x, t).data, field(x, t, y).data
    for space in ("data", "noise", "velocity", "v"):
        rule = fg.guidance.build("apg", field, w=w, eta=1.0, space=space)
        assert_close(rule(x, t, y).data, (1 - w) * u + w * c, rtol=1e-7, atol=1e-7)
    change = fg.guidance.build("apg", field, w=w)(x, t, y).data - c
    assert_close(dot(change, c) / (1 + dot(c, c)), torch.zeros(len(x), 1).double(), **close)
    # What is left lies in the span of the difference and the conditional.
    half = fg.guidance.build("apg", field, w=w, eta=0.5)(x, t, y).data - c
    assert_close(half, (change + (w - 1) * (c - u)) / 2, **close)


@given(states(), st.floats(0.01, 2))
def test_apg_bounds_the_change(state, threshold: float) -> None:
    field, x, t, y = state
    c = field(x, t, y).data
    change = fg.guidance.build("apg", field, w=3.0, eta=1.0, threshold=threshold)(x, t, y).data - c
    size = (c - field(x, t).data).norm(dim=1)
    assert_close(change.norm(dim=1), 2 * size.clamp(max=threshold), **close)


@given(states(), weights)
def test_the_scale_of_cfg_zero_star_is_of_least_squares(state, w: float) -> None:
    field, x, t, y = state
    u, c = field(x, t).velocity, field(x, t, y).velocity
    (k,) = [torch.stack([torch.linalg.lstsq(a[:, None], b[:, None]).solution[0] for a, b in zip(u, c, strict=True)])]
    guided = fg.guidance.build("cfg_zero_star", field, w=w)(x, t, y)
    assert_close(guided.velocity, (1 - w) * k * u + w * c, **close)


def test_cfg_zero_star_stands_still_at_first() -> None:
    field = Toy(fg.paths.build("linear"))
    rule, later = (fg.guidance.build("cfg_zero_star", field, w=3.0, zero_until=z) for z in (0.5, 0.0))
    x, y, t = torch.randn(4, 3), torch.tensor([0, 1, 2, 0]), torch.tensor([0.1, 0.49, 0.5, 0.9])
    assert rule(x, 0.2, y).velocity.abs().max() == 0
    velocity = rule(x, t, y).velocity
    assert velocity[:2].abs().max() == 0
    assert_close(velocity[2:], later(x, t, y).velocity[2:])
    assert_close(rule(x, 0.2).velocity, field(x, 0.2).velocity)  # without a condition there is no guidance


@given(states(), weights)
def test_tangential_projects_on_the_first_right_singular_vector(state, w: float) -> None:
    field, x, t, y = state
    u, c = field(x, t).noise, field(x, t, y).noise
    v = torch.linalg.svd(torch.stack([c, u], 1), full_matrices=False).Vh[:, 0]
    guided = fg.guidance.build("tangential", field, w=w)(x, t, y).noise
    assert_close(guided, (1 - w) * dot(u, v) * v + w * c, rtol=1e-6, atol=1e-6)


@given(states(), weights, st.floats(0, 10))
def test_mambo_is_cfg_with_a_smaller_weight(state, w: float, kappa: float) -> None:
    field, x, t, y = state
    u, c = field(x, t).velocity, field(x, t, y).velocity
    effective = 1 + (w - 1) * torch.exp(-kappa * (c - u).norm(dim=1) / u.norm(dim=1))
    guided = fg.guidance.build("mambo", field, w=w, kappa=kappa)(x, t, y)
    assert_close(guided.velocity, fg.guidance.build("cfg", field, w=effective)(x, t, y).velocity, **close)


@pytest.mark.parametrize("space", ["data", "noise", "velocity", "v"])
def test_rescale_restores_the_standard_deviation(space: str) -> None:
    field = Toy(fg.paths.build("vp"))
    x, y = 2 * torch.randn(5, 3, 4, 4), torch.arange(5) % 3
    c, g = (getattr(p, space) for p in (field(x, 0.6, y), fg.guidance.build("cfg", field, w=6.0)(x, 0.6, y)))
    full, none = (
        getattr(fg.guidance.build("rescale", field, w=6.0, phi=phi, space=space)(x, 0.6, y), space)
        for phi in (1.0, 0.0)
    )
    assert not torch.allclose(g.flatten(1).std(1), c.flatten(1).std(1), rtol=1e-2)
    assert_close(full.flatten(1).std(1), c.flatten(1).std(1), rtol=1e-4, atol=1e-5)
    assert_close(none, g, rtol=1e-4, atol=1e-5)
    # It goes around any rule: the conditional is that which the rule guides.
    around = fg.guidance.build("rescale", fg.guidance.build("apg", field, w=6.0), phi=1.0, space=space)(x, 0.6, y)
    assert_close(getattr(around, space).flatten(1).std(1), c.flatten(1).std(1), rtol=1e-4, atol=1e-5)


@given(states(), st.floats(0.2, 3), st.floats(0.1, 1))
def test_dynamic_threshold_bounds_the_data(state, bound: float, quantile: float) -> None:
    field, x, t, y = state
    rule = fg.guidance.build("dynamic_threshold", field, w=4.0, bound=bound, quantile=quantile)
    guided, free = rule(x, t, y).data, rule.field(x, t, y).data
    assert guided.abs().max() <= bound * (1 + 1e-12)
    within = free.abs().amax(1) <= bound
    assert_close(guided[within], free[within], **close)
    assert (guided * free >= -1e-12).all()  # nothing changes its sign


@given(states(), weights)
def test_negative_is_a_ratio_of_two_conditions(state, w: float) -> None:
    field, x, t, y = state
    away = (y + 1) % field.num_classes
    rule = fg.guidance.build("negative", field, negative=away, w=w)
    x.requires_grad_()
    log_density = (1 - w) * field.log_prob(x, t, away) + w * field.log_prob(x, t, y)
    (score,) = torch.autograd.grad(log_density.sum(), x)
    assert_close(rule(x.detach(), t, y).score, score, rtol=1e-7, atol=1e-7)


@given(states(), weights, st.floats(-2, 2))
def test_multi_is_a_product_of_experts(state, w: float, v: float) -> None:
    field, x, t, y = state
    other = (y + 1) % field.num_classes
    x.requires_grad_()
    log = field.posterior(x, t).log()
    rows = torch.arange(len(x))
    log_density = field.log_prob(x, t) + w * (log[rows, y] + v * log[rows, other])
    (score,) = torch.autograd.grad(log_density.sum(), x)
    x = x.detach()
    rule = fg.guidance.build("multi", field, w=w, weights=[1.0, v])
    both = torch.stack([y, other], 1)
    rule.check_condition(both, len(x))
    assert_close(rule(x, t, both).score, score, rtol=1e-6, atol=1e-6)
    # With labels for all, and with one label: classifier-free guidance.
    fixed = fg.guidance.build("multi", field, w=w, labels=[0], weights=[1.0, v])
    assert_close(fixed(x, t, y).score, rule(x, t, torch.stack([y, 0 * y], 1)).score, **close)
    one = fg.guidance.build("multi", field, w=w)
    assert_close(one(x, t, y).score, fg.guidance.build("cfg", field, w=w)(x, t, y).score, **close)


@given(states(), st.floats(0.3, 1))
def test_feedback_undoes_a_conditional_that_mixes_in_the_unconditional(state, pi: float) -> None:
    clean, x, t, y = state

    class Smeared(fg.Field):
        """pi p(x | y) + (1 - pi) p(x), in scores and densities."""

        path, num_classes, null = clean.path, clean.num_classes, clean.null

        def log_prob(self, x, t, cond=None):
            if cond is None:
                return clean.log_prob(x, t)
            parts = clean.log_prob(x, t, cond) + math.log(pi), clean.log_prob(x, t) + math.log1p(-min(pi, 1 - 1e-300))
            return torch.logaddexp(*parts) if pi < 1 else parts[0]

        def predict(self, x, t, cond):
            if cond is None:
                return clean(x, t)
            share = torch.exp(clean.log_prob(x, t, cond) - self.log_prob(x, t, cond)) * pi
            return clean(x, t).lerp(clean(x, t, cond), share)

    # Where the unconditional has swamped the rest, the weight is large and takes the digits with it.
    rule = fg.guidance.build("feedback", Smeared(), pi=pi, w_max=1e4)
    known = rule.weight(x, t, y) < 1e3
    assert_close(rule(x, t, y).score[known], clean(x, t, y).score[known], rtol=1e-6, atol=1e-6)
    assert (rule.weight(x, t, y) >= 1).all()
    assert (fg.guidance.build("feedback", Smeared(), pi=pi, w_max=2.0).weight(x, t, y) <= 2).all()


@given(states(), weights)
def test_autoguidance_pushes_away_from_the_weak_field(state, w: float) -> None:
    from rules import weak

    field, x, t, y = state
    rule = fg.guidance.build("autoguidance", field, weak=weak(field), w=w)
    for cond in (y, None):
        expected = (1 - w) * weak(field)(x, t, cond).score + w * field(x, t, cond).score
        assert_close(rule(x, t, cond).score, expected, **close)


BAD = [
    ("apg", {"eta": math.inf}, "eta must be a finite number"),
    ("apg", {"threshold": 0.0}, "threshold is the largest norm"),
    ("cfg_zero_star", {"zero_until": 1.0}, "zero_until is a time"),
    ("mambo", {"kappa": -1.0}, "kappa must be at least 0"),
    ("rescale", {"phi": 1.5}, "phi is a share"),
    ("rescale", {"rule": "cgf"}, "unknown guidance rule 'cgf'; did you mean 'cfg'"),
    ("rescale", {"w": 2.0, "rule": {"name": "cfg", "w": 3.0}}, "the weight is given twice"),
    ("dynamic_threshold", {"quantile": 0.0}, "quantile is a share"),
    ("dynamic_threshold", {"bound": -1.0}, "bound is the largest absolute value"),
    ("dynamic_threshold", {"space": "noise"}, "dynamic_threshold acts in data, not in 'noise'"),
    ("negative", {"negative": 7}, "label 7 is not one of the 3 classes"),
    ("negative", {}, "needs the option 'negative'"),
    ("multi", {"labels": [7]}, "label 7 is not one of the 3 classes"),
    ("multi", {"weights": [math.nan]}, "weights must be finite"),
    ("feedback", {"pi": 0.0, "log_ratio": lambda x, t, cond: x}, "pi is the share"),
    ("feedback", {"track": False}, "feedback needs the likelihood ratio"),
    ("feedback", {"track": True, "log_ratio": lambda x, t, cond: x}, "there is nothing to track"),
    ("feedback", {"temperature": -1.0}, "temperature and ceiling are at least 0"),
    ("feedback", {"offset": math.nan}, "offset is finite"),
    ("rectified_cfgpp", {"ahead": 2.0}, "ahead is a share of the step"),
    ("feedback", {"w_max": 1.0, "log_ratio": lambda x, t, cond: x}, "w_max is the largest weight"),
    ("characteristic", {"iterations": -1}, "iterations and history are at least 0"),
    ("characteristic", {"damping": 0.0}, "damping is the share of a step"),
    ("characteristic", {"tolerance": -1.0}, "tolerance is a distance"),
    ("autoguidance", {}, "needs the option 'weak'"),
    ("autoguidance", {"weak": 3}, "'weak' of guidance rule 'autoguidance' must be"),
    (
        "autoguidance",
        {"weak": Toy(fg.paths.build("vp"))},
        r"the weak model has the path VP\(.*\) and the strong one Linear",
    ),
]


@pytest.mark.parametrize(("name", "options", "words"), BAD)
def test_bad_options_get_a_sentence(name: str, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.guidance.build(name, Toy(fg.paths.build("linear")), **options)


def test_a_weak_model_of_other_classes_or_shape_is_refused() -> None:
    path = fg.paths.build("linear")
    strong = fg.MixtureField(fg.oracle.ring(3), path)
    with pytest.raises(ValueError, match="the weak model has the number of classes 4 and the strong one 3"):
        fg.guidance.build("autoguidance", strong, weak=fg.MixtureField(fg.oracle.ring(4), path))
    line = fg.oracle.GaussianMixture(torch.ones(3), torch.zeros(3, 1), torch.ones(3, 1, 1))
    with pytest.raises(ValueError, match=r"states of the shape \(1,\) and the strong one \(2,\)"):
        fg.guidance.build("autoguidance", strong, weak=fg.MixtureField(line, path))


def test_a_weak_model_that_cannot_predict_everywhere_shortens_the_interval() -> None:
    path = fg.paths.build("linear")
    network = fg.networks.build("mlp", dim=2, num_classes=3)
    strong, weak = (fg.NetworkField(network, path, predicts=kind) for kind in ("velocity", "noise"))
    rule = fg.guidance.build("autoguidance", strong, weak=weak)
    assert (rule.t_min, rule.t_max) == (weak.t_min, 1.0)


def test_as_many_negative_conditions_and_weights_as_there_should_be() -> None:
    field = Toy(fg.paths.build("linear"))
    x, y = torch.randn(3, 2), torch.arange(3)
    with pytest.raises(ValueError, match="2 negative conditions for 3 samples"):
        fg.guidance.build("negative", field, negative=[0, 1], w=2.0)(x, 0.5, y)
    with pytest.raises(ValueError, match="multi has 2 weights for 1 labels"):
        fg.guidance.build("multi", field, weights=[1.0, 2.0], w=2.0)(x, 0.5, y)


@pytest.mark.parametrize("outer", ["interval", "rescale", "dynamic_threshold"])
def test_a_velocity_of_zero_at_first_stays_so_within_other_rules(outer: str) -> None:
    """Whichever way they ask for it; a batch may have times on both sides."""
    field = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear"))
    options = {"rescale": {"phi": 0.0}, "dynamic_threshold": {"bound": 100.0}}.get(outer, {"low": 0.0, "high": 0.5})
    still = {"name": "cfg_zero_star", "zero_until": 0.2}
    rule = fg.guidance.build(outer, field, w=3.0, rule=still, **options)
    x, y = torch.randn(4, 2, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    times = torch.tensor([0.1, 0.15, 0.3, 0.7], dtype=torch.float64)
    together = rule(x, times, y).velocity
    assert together[:2].abs().max() < 1e-12
    assert together[2:].abs().min() > 1e-3
    assert rule(x, 0.1, y).velocity.abs().max() < 1e-12
    assert rule.with_conditional(x, times, y)[0].velocity[:2].abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_as_many_steps_stand_still_as_are_asked_for(dtype: torch.dtype) -> None:
    """K of n, however K / n and the times are rounded."""
    field = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear"))
    x, y = torch.randn(1, 2, dtype=dtype), torch.tensor([0])
    for n in (5, 12, 25, 49):
        times = fg.solvers.build("euler", steps=n).times(field).to(dtype)[:-1]
        for k in range(n):
            rule = fg.guidance.build("cfg_zero_star", field, w=3.0, zero_until=k / n)
            still = rule(x.expand(n, 2), times, y.expand(n)).velocity == 0
            assert still.all(1).tolist() == [True] * k + [False] * (n - k), (n, k)
