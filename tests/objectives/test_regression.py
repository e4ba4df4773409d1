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


def trained(coupling: str, steps: int, seed: int = 0) -> fg.NetworkField:
    """A small network that has learnt to carry eight Gaussians to two moons."""
    torch.manual_seed(seed)
    gaussians, moons = fg.data.build("eight_gaussians").data, fg.data.build("moons").data
    network = fg.networks.build("mlp", dim=2, width=64, depth=2)
    model = fg.NetworkField(network, fg.paths.build("linear"))
    objective = fg.objectives.build("cfm", coupling=coupling)
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    g = generator(seed)
    for _ in range(steps):
        data, source = (each[torch.randint(len(each), (128,), generator=g)] for each in (moons, gaussians))
        optimizer.zero_grad()
        objective(model, data=data, source=source, generator=g).backward()
        optimizer.step()
        schedule.step()
    return model.eval().requires_grad_(False)


def energy_distance(a: Tensor, b: Tensor) -> float:
    """Zero if and only if both come from one law (Szekely & Rizzo 2013)."""
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())


def test_one_data_set_is_carried_to_another() -> None:
    source, moons = fg.data.build("eight_gaussians", split="test").data, fg.data.build("moons", split="test").data
    before = energy_distance(source[:1000], moons[:1000])
    straightness = {}
    for coupling in ("independent", "ot"):
        model = trained(coupling, 400)
        arrived = fg.solvers.build("heun", steps=20).solve(model, source[:1000])
        assert energy_distance(arrived, moons[:1000]) < 0.25 * before
        one_step = fg.solvers.build("euler", steps=1).solve(model, source[:1000])
        straightness[coupling] = float((one_step - arrived).square().mean())
    # Transported pairs make paths so straight that one step goes all the way.
    assert straightness["ot"] < 0.05 * straightness["independent"]
