"""What objectives that regress a field share: the order of their draws, couplings, and sources in place of noise."""

from typing import Any

import pytest
import torch
from strategies import generator
from torch import Tensor

import flowguide as fg

REGRESSIONS = ["cfm", "dsm"]


def exact(path: str = "linear") -> fg.MixtureField:
    return fg.MixtureField(fg.oracle.ring(3), fg.paths.build(path))


@pytest.mark.parametrize("path", fg.paths.names())
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_seed_means_the_same_as_it_did(path: str, dropout: float) -> None:
    """Flow matching written out, its draws in the order in which they always were: times, noise, dropout."""
    field = exact(path)
    data, labels = field.mixture.sample(64, seed=1)
    g = generator(3)
    t = field.t_min + (field.t_max - field.t_min) * torch.rand(64, generator=g)
    noise = torch.randn(data.shape, generator=g)
    cond = labels
    if dropout:
        cond = torch.where(torch.rand(64, generator=g) < dropout, 3, labels)
    alpha, sigma, rates = field.path.alpha(t), field.path.sigma(t), field.path.interpolate(data, noise, t).velocity
    state = alpha[:, None] * data + sigma[:, None] * noise
    expected = (field(state, t, cond).velocity - rates).square().mean(1)
    found = fg.objectives.build("cfm", label_dropout=dropout).losses(field, data, labels, generator(3))
    assert torch.equal(found, expected)


class Recording(fg.Field):
    """An exact field that keeps what it was asked."""

    def __init__(self, field: fg.MixtureField) -> None:
        super().__init__()
        self.field, self.path, self.num_classes = field, field.path, field.num_classes

    def null(self, batch: int) -> Tensor:
        return self.field.null(batch)

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> fg.paths.Prediction:
        self.asked = x, t, cond
        return self.field(x, t, cond)


@pytest.mark.parametrize("name", REGRESSIONS)
@pytest.mark.parametrize("coupling", ["ot", "conditional_ot", {"name": "conditional_ot", "ratio": 0.5}])
def test_noise_is_paired_and_labels_stay(name: str, coupling: Any) -> None:
    field = Recording(exact())
    data, labels = field.field.mixture.sample(64, seed=1, dtype=torch.float64)
    objective = fg.objectives.build(name, label_dropout=0.0, coupling=coupling)
    objective(field, data=data, cond=labels, generator=generator(0))
    x, t, cond = field.asked
    assert torch.equal(cond, labels)
    g = generator(0)
    torch.rand(64, generator=g, dtype=torch.float64)
    noise = torch.randn(64, 2, generator=g, dtype=torch.float64)
    paired = objective.coupling(data, noise, labels)
    torch.testing.assert_close(x, t[:, None] * data + (1 - t)[:, None] * paired)
    assert not torch.equal(paired, noise)


def test_a_source_takes_the_place_of_noise() -> None:
    field = Recording(exact())
    data, labels = field.field.mixture.sample(16, seed=1)
    source = torch.arange(32.0).reshape(16, 2)
    for coupling in ("independent", "ot"):
        objective = fg.objectives.build("cfm", coupling=coupling)
        assert objective(field, data=data, cond=labels, source=source, generator=generator(0)).isfinite()
        x, t, _ = field.asked
        found = (x - t[:, None] * data) / (1 - t)[:, None]
        paired = objective.coupling(data, source, labels)
        torch.testing.assert_close(found, paired, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("cfm", torch.zeros(7, 2), r"source must have the shape of data, \(8, 2\), .*, not \(7, 2\)"),
        ("cfm", torch.zeros(8, 3), r"not \(8, 3\)"),
        ("dsm", torch.zeros(8, 2), "DenoisingScoreMatching takes no source: only the velocity has a meaning"),
    ],
)
def test_a_source_that_does_not_fit(name: str, source: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.objectives.build(name)(exact(), data=torch.zeros(8, 2), source=source)


@pytest.mark.parametrize("name", REGRESSIONS)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_dropout": 1.5}, r"label_dropout is a probability in \[0, 1\], not 1.5"),
        ({"time": "unifrom"}, "unknown time sampling 'unifrom'; did you mean 'uniform'"),
        ({"time": {"mean": 1.0}}, "a time sampling needs a name"),
        ({"time": {"name": "uniform", "mean": 1.0}}, "unknown option of time sampling 'uniform'"),
        ({"time": 3}, "option 'time' of objective .* must be a string or a group of settings, not 3"),
        ({"coupling": "optimal"}, "unknown coupling 'optimal'"),
        ({"coupling": {"name": "conditional_ot", "ratio": 2.0}}, r"needs a ratio in \(0, 1\], not 2.0"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.objectives.build(name, **options)


def fit(
    model: fg.NetworkField, objective: Any, data: fg.data.Dataset, source: fg.data.Dataset | None, steps: int
) -> None:
    """Train in a second or two."""
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    g = generator(0)
    for _ in range(steps):
        chosen = torch.randint(len(data), (128,), generator=g)
        start = None if source is None else source.data[torch.randint(len(source), (128,), generator=g)]
        cond = data.labels[chosen] if model.num_classes else None
        optimizer.zero_grad()
        objective(model, data=data.data[chosen], cond=cond, source=start, generator=g).backward()
        optimizer.step()
        schedule.step()
    model.eval().requires_grad_(False)


def energy_distance(a: Tensor, b: Tensor) -> float:
    """Zero if and only if both come from one law (Szekely & Rizzo 2013)."""
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())


def test_only_condition_aware_transport_leaves_a_class_where_it_is() -> None:
    """A model of labelled moons, one class drawn at a time: plain transport has shown each class half of the noise."""
    moons, held_out = fg.data.build("moons"), fg.data.build("moons", split="test")
    right = held_out.data[held_out.labels == 1][:1000]
    distance = {}
    for coupling in ("ot", "conditional_ot"):
        torch.manual_seed(0)
        model = fg.NetworkField(fg.networks.build("mlp", dim=2, num_classes=2, width=64), fg.paths.build("linear"))
        fit(model, fg.objectives.build("cfm", coupling=coupling), moons, None, 300)
        drawn = fg.sample(model, (1000, 2), torch.ones(1000, dtype=torch.int64), fg.solvers.build("euler", steps=2))
        distance[coupling] = energy_distance(drawn, right)
    assert distance["conditional_ot"] < 0.03
    assert distance["ot"] > 5 * distance["conditional_ot"]


@pytest.mark.slow
def test_one_data_set_is_carried_to_another() -> None:
    gaussians, data = fg.data.build("eight_gaussians"), fg.data.build("moons")
    source, moons = fg.data.build("eight_gaussians", split="test").data, fg.data.build("moons", split="test").data
    before = energy_distance(source[:1000], moons[:1000])
    straightness = {}
    for coupling in ("independent", "ot"):
        torch.manual_seed(0)
        model = fg.NetworkField(fg.networks.build("mlp", dim=2, width=64, depth=2), fg.paths.build("linear"))
        fit(model, fg.objectives.build("cfm", coupling=coupling), data, gaussians, 400)
        arrived = fg.solvers.build("heun", steps=20).solve(model, source[:1000])
        assert energy_distance(arrived, moons[:1000]) < 0.25 * before
        one_step = fg.solvers.build("euler", steps=1).solve(model, source[:1000])
        straightness[coupling] = float((one_step - arrived).square().mean())
    # Transported pairs make paths so straight that one step goes all the way.
    assert straightness["ot"] < 0.05 * straightness["independent"]
