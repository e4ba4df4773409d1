"""Optimal transport is optimal, and only the condition-aware one leaves the source independent of the label."""

import itertools
import math
import sys

import pytest
import torch
from hypothesis import given
from strategies import generator, seeds
from torch import Tensor

import flowguide as fg
from flowguide.couplings.conditional_ot import adaptive_weight
from flowguide.couplings.costs import squared_distances


def cost(data: Tensor, source: Tensor) -> float:
    return float((data - source).square().sum())


def samples(size: int, seed: int, dim: int = 3) -> tuple[Tensor, Tensor]:
    return tuple(torch.randn(2, size, dim, generator=generator(seed), dtype=torch.float64))


@given(seeds)
def test_no_permutation_is_cheaper(seed: int) -> None:
    data, source = samples(5, seed)
    found = cost(data, fg.couplings.build("ot")(data, source))
    cheapest = min(cost(data, source[list(order)]) for order in itertools.permutations(range(5)))
    assert found == pytest.approx(cheapest, rel=1e-12)
    assert found <= cost(data, source)


@given(seeds)
def test_no_permutation_within_labels_is_cheaper(seed: int) -> None:
    data, source = samples(6, seed)
    labels = torch.randint(3, (6,), generator=generator(seed))
    coupling = fg.couplings.build("conditional_ot")
    allowed = [list(o) for o in itertools.permutations(range(6)) if torch.equal(labels[list(o)], labels)]
    cheapest = min(cost(data, source[order]) for order in allowed)
    chosen = coupling.assign(data, source, labels, None)
    assert torch.equal(labels[chosen], labels)
    assert cost(data, source[chosen]) == pytest.approx(cheapest, rel=1e-12)
    assert torch.equal(chosen, coupling.assign(data, source, labels.int(), None))


def test_in_one_dimension_it_sorts() -> None:
    data, source = samples(50, 0, dim=1)
    paired = fg.couplings.build("ot")(data, source)
    assert torch.equal(paired[data[:, 0].argsort()], source.sort(0).values)


def test_without_conditions_the_two_agree() -> None:
    data, source = samples(40, 1)
    plain = fg.couplings.build("ot").assign(data, source, None, None)
    for cond, options in ((None, {}), (torch.zeros(40, dtype=torch.int64), {}), (torch.rand(40, 2), {"weight": 0.0})):
        chosen = fg.couplings.build("conditional_ot", **options).assign(data, source, cond, None)
        assert torch.equal(chosen, plain)


def means_of_noise(coupling: str, batches: int = 100, size: int = 64) -> tuple[Tensor, Tensor]:
    """Mean and its standard error of the noise that meets each of two classes, left and right of the middle."""
    g = generator(0)
    pair, means = fg.couplings.build(coupling), []
    for _ in range(batches):
        labels = torch.arange(size) % 2
        data = 0.3 * torch.randn(size, 2, generator=g, dtype=torch.float64)
        data[:, 0] += 4.0 * labels - 2.0
        noise = pair(data, torch.randn(size, 2, generator=g, dtype=torch.float64), labels, g)
        means.append(torch.stack([noise[labels == label, 0].mean() for label in (0, 1)]))
    each = torch.stack(means)
    return each.mean(0), each.std(0) / batches**0.5


def test_ot_skews_the_noise_of_a_class_and_conditional_ot_does_not() -> None:
    """Halves of a normal law have means -+sqrt(2 / pi): that is all the noise that a class sees under plain OT."""
    mean, _ = means_of_noise("ot")
    assert abs(mean[0] + math.sqrt(2 / math.pi)) < 0.05
    assert abs(mean[1] - math.sqrt(2 / math.pi)) < 0.05
    for coupling in ("conditional_ot", "independent"):
        mean, error = means_of_noise(coupling)
        assert (mean.abs() < 4 * error).all(), (coupling, mean, error)


def test_each_label_keeps_the_very_samples_drawn_with_it() -> None:
    data, source = samples(60, 3)
    labels = torch.randint(4, (60,), generator=generator(3))
    paired = fg.couplings.build("conditional_ot")(data, source, labels)
    for label in range(4):
        before, after = ({tuple(row) for row in noise[labels == label].tolist()} for noise in (source, paired))
        assert before == after
    assert cost(data, paired) < cost(data, source)


@given(seeds)
def test_the_adaptive_weight_has_the_share_asked_for(seed: int) -> None:
    data, source = samples(40, seed)
    g = generator(seed)
    costs, distances = squared_distances(data, source), torch.rand(40, 40, generator=g, dtype=torch.float64) + 0.1
    distances.fill_diagonal_(0.0)

    def share(weight: float) -> float:
        return float((costs + weight * distances <= costs.diagonal()[:, None]).double().mean())

    weight = adaptive_weight(costs, distances, 0.2)
    assert weight > 0
    assert abs(share(weight * (1 - 1e-9)) - 0.2) < 1e-3
    assert share(weight * 1.01) <= 0.2
    assert adaptive_weight(costs, distances, 1.0) == 0.0, "without the conditions fewer are as cheap"
    # A share that the drawn pairs alone make up: at that weight and beyond, no other pair is as cheap.
    assert share(adaptive_weight(costs, distances, 1e-9) * (1 + 1e-9)) == pytest.approx(1 / 40)
    assert adaptive_weight(costs, torch.zeros(40, 40, dtype=torch.float64), 0.01) == 0.0


def test_continuous_conditions_are_skewed_less() -> None:
    """The condition is the first coordinate of the data, so that plain OT pairs like with like."""
    g = generator(5)
    correlations = {"ot": [], "conditional_ot": [], "strict": []}
    couplings = {
        "ot": fg.couplings.build("ot"),
        "conditional_ot": fg.couplings.build("conditional_ot", distance="squared"),
        "strict": fg.couplings.build("conditional_ot", distance="squared", weight=1e12),
    }
    for _ in range(10):
        data, noise = torch.randn(2, 128, 2, generator=g, dtype=torch.float64)
        for name, coupling in couplings.items():
            paired = coupling(data, noise, data[:, :1])
            correlations[name].append(torch.corrcoef(torch.stack([data[:, 0], paired[:, 0]]))[0, 1])
    # Conditions that must agree, and do so only with their own, leave the pairs as they were drawn.
    assert torch.equal(couplings["strict"].assign(data, noise, data[:, :1], None), torch.arange(128))
    ot, conditional, strict = (float(torch.stack(each).mean()) for each in correlations.values())
    assert ot > 0.8
    assert conditional < 0.6 * ot
    assert abs(strict) < 0.1


@pytest.mark.parametrize("size", [1, 2])
def test_equal_samples_and_tiny_batches(size: int) -> None:
    data, source = torch.ones(size, 2), torch.zeros(size, 2)
    for cond in (None, torch.zeros(size, dtype=torch.int64), torch.zeros(size, 3)):
        assert torch.equal(fg.couplings.build("conditional_ot")(data, source, cond), source)


def test_sinkhorn_lies_between_independence_and_transport() -> None:
    pytest.importorskip("ot")
    data, source = samples(64, 2)
    sinkhorn = {rho: fg.couplings.build("sinkhorn", regularization=rho) for rho in (0.02, 0.05, 1000.0)}
    plan = sinkhorn[0.05].plan(data, source)
    for total in (plan.sum(0), plan.sum(1)):
        torch.testing.assert_close(total, torch.full((64,), 1 / 64, dtype=torch.float64), rtol=1e-4, atol=0)
    torch.testing.assert_close(sinkhorn[1000.0].plan(data, source), torch.full_like(plan, 1 / 64**2), rtol=0.05, atol=0)
    costs = squared_distances(data, source)
    least = cost(data, fg.couplings.build("ot")(data, source)) / 64
    expected = [float((s.plan(data, source) * costs).sum()) for s in sinkhorn.values()]
    assert least - 1e-9 < expected[0] < 1.25 * least < expected[1] < expected[2]
    # What is drawn is the plan.
    drawn = torch.stack([sinkhorn[0.05].assign(data, source, None, generator(s)) for s in range(300)])
    mean = torch.stack([costs[torch.arange(64), each].mean() for each in drawn]).mean()
    assert abs(mean - expected[1]) < 0.03 * expected[1]
    assert fg.couplings.build("sinkhorn")(torch.ones(3, 2), torch.ones(3, 2)).shape == (3, 2)


def test_sinkhorn_names_the_extra_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ValueError, match=r"needs POT, which is not installed: pip install 'flowguide\[ot\]'"):
        fg.couplings.build("sinkhorn")
