"""Posteriors of noisy states, exact and trained: probabilities, and gradients over alpha."""

import math

import pytest
import torch
from hypothesis import given
from strategies import network_posterior, states

import flowguide as fg
from flowguide.fields import MixturePosterior, NetworkPosterior


def exact(field: fg.MixtureField) -> MixturePosterior:
    return MixturePosterior(field.mixture, field.path)


def toy(path: str = "linear", std: float = 0.4) -> fg.MixtureField:
    return fg.MixtureField(fg.oracle.ring(3, std=std), fg.paths.build(path))


@given(states())
def test_probabilities_sum_to_one_and_gradients_to_zero(state) -> None:
    field, x, t, _ = state
    classifier = exact(field)
    probabilities = classifier(x, t).exp()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(x), dtype=x.dtype))
    torch.testing.assert_close(probabilities, field.posterior(x, t))
    mean = sum(
        probabilities[:, y : y + 1] * classifier.gradient(x, t, torch.full((len(x),), y))
        for y in range(field.num_classes)
    )
    torch.testing.assert_close(mean, torch.zeros_like(x), rtol=0, atol=1e-9)


def test_the_gradient_is_that_of_the_log_probability() -> None:
    """Against finite differences, for a network and for the exact posterior."""
    field = toy("vp")
    x, y = torch.randn(4, 2, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    t = torch.tensor([0.1, 0.3, 0.6, 0.9], dtype=torch.float64)
    for classifier in (network_posterior("vp").double(), exact(field)):
        g = classifier.gradient(x, t, y)
        for axis in torch.eye(2, dtype=torch.float64) * 1e-5:
            slope = (classifier.log_prob(x + axis, t, y) - classifier.log_prob(x - axis, t, y)) / 2e-5
            torch.testing.assert_close((field.path.at(t, x).alpha * g) @ axis / 1e-5, slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("name", "shape"), [("unet_encoder", (1, 8, 8)), ("mlp_classifier", (2,))])
def test_gradients_can_be_differentiated_only_where_they_are_recorded(name: str, shape: tuple[int, ...]) -> None:
    classifier = network_posterior("linear", shape, name)
    x, y = torch.randn(2, *shape, requires_grad=True), torch.tensor([0, 1])
    gradient = classifier.gradient(x, 0.6, y)
    (second,) = torch.autograd.grad(gradient.square().sum(), x)
    assert second.abs().sum() > 0
    with torch.no_grad():
        assert not classifier.gradient(x, 0.6, y).requires_grad
    assert not classifier.gradient(x.detach(), 0.6, y).requires_grad


def test_autocast_and_half_precision_leave_the_gradient_in_float32() -> None:
    classifier = network_posterior("linear")
    x, y = torch.randn(5, 2), torch.tensor([0, 1, 2, 0, 1])
    expected = classifier.gradient(x, 0.6, y)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(classifier.gradient(x, 0.6, y), expected)
    half = classifier.gradient(x.bfloat16(), 0.6, y)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.02)


def test_a_network_may_be_shown_the_state_and_told_the_timestep() -> None:
    network, path = network_posterior("ddpm").network, fg.paths.build("ddpm")
    classifier = NetworkPosterior(network, path, "state", clock="timestep")
    x, y, n = torch.randn(4, 2, requires_grad=True), torch.arange(4) % 3, torch.tensor([3.0, 250.0, 600.0, 900.0])
    t = path.time_of_timestep(n)
    expected = network(x, n).log_softmax(1)
    torch.testing.assert_close(classifier(x, t), expected, rtol=1e-3, atol=1e-3)
    (slope,) = torch.autograd.grad(expected.gather(1, y[:, None]).sum(), x)
    found = classifier.gradient(x, t, y).detach() * path.alpha(t)[:, None]
    torch.testing.assert_close(found, slope, rtol=1e-2, atol=1e-3 * slope.abs().max().item())


def test_log_probabilities_are_finite_where_probabilities_vanish() -> None:
    mixture = fg.oracle.ring(3, std=0.01)
    x = mixture.sample(3, cond=torch.arange(3), dtype=torch.float64)[0].requires_grad_()
    log_posterior = mixture.log_posterior(x)
    assert (mixture.posterior(x) == 0).any()
    assert log_posterior.isfinite().all()
    assert log_posterior.min() < -10000
    assert torch.autograd.grad(log_posterior.sum(), x)[0].isfinite().all()


def test_knows_where_it_is_defined() -> None:
    assert math.isclose(exact(toy("linear")).t_min, 1e-3 / 1.001)  # where alpha / sigma is 1e-3
    assert exact(toy("vp")).t_min == 0
    assert network_posterior("linear").t_min == 0
    assert network_posterior("linear").t_max == 1


def test_the_null_label_has_probability_1() -> None:
    classifier, x = exact(toy()), torch.randn(2, 2)
    assert classifier.log_prob(x, 0.5, torch.tensor([3, 3])).tolist() == [0, 0]
    assert classifier.gradient(x, 0.5, torch.tensor([3, 0]))[0].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: exact(toy()).log_prob(torch.zeros(1, 2), 0.5, torch.tensor([-1])), "label -1 is not one of the 3"),
        (lambda: NetworkPosterior(fg.networks.build("convnet", channels=1, num_classes=3), toy().path),
         "ConvNet classifies clean data and takes no time"),
        (lambda: NetworkPosterior(network_posterior("vp").network, toy().path, "states"),
         "a classifier is shown the 'guess' or the 'state', not 'states'"),
        (lambda: NetworkPosterior(fg.networks.build("mlp", dim=2), toy().path), "MLP is none"),
    ],
)  # fmt: skip
def test_says_what_is_wrong(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("ask", ["log_prob", "gradient"])
def test_there_is_one_label_per_state(ask: str) -> None:
    """With fewer, the other states would go without a gradient."""
    for classifier in (exact(toy()), network_posterior("linear")):
        with pytest.raises(ValueError, match="one condition per sample: got 1 for 4 samples"):
            getattr(classifier, ask)(torch.zeros(4, 2), 0.5, torch.tensor([1]))
