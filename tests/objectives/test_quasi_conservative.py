"""The quasi-conservative penalty: unbiased for the asymmetry of a Jacobian, and absent where it is not asked for."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import generator, seeds, states
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

import flowguide as fg
from flowguide.objectives.quasi_conservative import rotation

REGRESSIONS = ["cfm", "dsm"]
UNET = {"width": 8, "head_width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [0, 1], "dropout": 0.5}


def model(dim: int = 2, predicts: str = "velocity") -> fg.NetworkField:
    """A field with random weights everywhere, float64."""
    built = fg.networks.build("mlp", dim=dim, num_classes=3, width=16, depth=1).double()
    for i, p in enumerate(built.parameters()):
        nn.init.normal_(p, std=0.2, generator=generator(i))
    return fg.NetworkField(built, fg.paths.build("linear"), predicts)


def batch(count: int, dim: int = 2, seed: int = 0) -> dict[str, Tensor]:
    g = generator(seed)
    data = torch.randn(count, dim, generator=g, dtype=torch.float64)
    return {"data": data, "cond": torch.randint(3, (count,), generator=g)}


def exact(field: fg.Field, x: Tensor, t: Tensor, cond: Tensor, kind: str = "data") -> Tensor:
    """Jacobians of a prediction, sample by sample, shape (B, D, D)."""
    return vmap(jacrev(lambda x, t, y: getattr(field(x[None], t[None], y[None]), kind)[0]))(x, t, cond)


def halved(j: Tensor) -> Tensor:
    """||J - J^T||^2 / 2 D of each."""
    return (j - j.mT).square().sum((-2, -1)) / (2 * j.shape[-1])


def signs(dim: int) -> Tensor:
    """All vectors of signs, each as likely as any other: means over them are expectations. Shape (2^D, D)."""
    return torch.tensor(list(itertools.product([-1.0, 1.0], repeat=dim)), dtype=torch.float64)


@given(st.integers(1, 6), seeds)
def test_unbiased_for_any_jacobian_and_exact_in_two_dimensions(dim: int, seed: int) -> None:
    j, v = torch.randn(dim, dim, generator=generator(seed), dtype=torch.float64), signs(dim)
    draws, sizes = rotation(lambda x: x @ j.T, torch.zeros_like(v), v)
    torch.testing.assert_close(draws, (v @ (j.T - j)).square().sum(1))
    torch.testing.assert_close(draws.mean() / (2 * dim), halved(j), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(sizes.mean(), j.square().sum(), rtol=1e-12, atol=1e-12)
    assert (draws >= 0).all()
    if dim <= 2:
        torch.testing.assert_close(draws, draws[0].expand_as(draws), rtol=1e-12, atol=1e-12)


@given(st.integers(1, 6), seeds)
def test_none_for_a_symmetric_jacobian(dim: int, seed: int) -> None:
    j, v = torch.randn(dim, dim, generator=generator(seed), dtype=torch.float64), signs(dim)
    assert rotation(lambda x: x @ (j + j.T), torch.zeros_like(v), v)[0].max() < 1e-24


def test_of_smaller_variance_than_the_difference_of_traces() -> None:
    """tr J J^T - tr J J from two products with J^T, as Chao et al. estimate the same number."""
    v, g, variances = signs(6), generator(0), []
    for _ in range(50):
        j = torch.randn(6, 6, generator=g, dtype=torch.float64)
        ours = rotation(lambda x, j=j: x @ j.T, torch.zeros_like(v), v)[0] / 2
        theirs = (v @ j).square().sum(1) - (v @ j @ j * v).sum(1)
        torch.testing.assert_close(ours.mean(), theirs.mean())
        variances.append(torch.stack([ours.detach().var(), theirs.var()]))
    ours, theirs = torch.stack(variances).mean(0)
    assert ours < 0.6 * theirs


@settings(max_examples=25)
@given(states(max_dim=3), st.sampled_from(["data", "noise", "velocity", "v"]), seeds)
def test_zero_on_exact_fields(state: Any, kind: str, seed: int) -> None:
    field, x, t, y = state
    penalty = fg.objectives.build("cfm", quasi_conservative={"weight": 1.0, "of": kind}).quasi_conservative
    turned, size = penalty(field, x, t, y, generator(seed))
    assert turned.max() <= 1e-20 * max(1.0, size.max())


@pytest.mark.parametrize("name", REGRESSIONS)
@pytest.mark.parametrize("of", fg.paths.KINDS)
def test_the_loss_is_the_error_plus_the_weighted_penalty(name: str, of: str) -> None:
    """In two dimensions the penalty has no variance, so that it is known without the signs that were drawn."""
    field, seen = model(), []
    field.register_forward_pre_hook(lambda _, args: seen.append(args))
    plain = fg.objectives.build(name)(field, **batch(8), generator=generator(5))
    objective = fg.objectives.build(name, quasi_conservative={"weight": 0.3, "of": of})
    loss = objective(field, **batch(8), generator=generator(5))
    x, t, y = seen[0]
    j = exact(field, x, t, y, of)
    torch.testing.assert_close(loss, plain + 0.3 * halved(j).mean(), rtol=1e-10, atol=0)
    report = objective.report
    assert all(value.shape == () and not value.requires_grad for value in report.values())
    assert torch.equal(report["error"], plain.detach()), "the draws of the error are those of a run without"
    torch.testing.assert_close(report["asymmetry"], halved(j).mean().detach())
    _, forward_size = objective.quasi_conservative(field, x, t, y, generator(0))
    expected = (2 * halved(j).mean() / forward_size.mean()).sqrt()
    assert report["asymmetry_ratio"] == pytest.approx(float(expected.detach()), rel=0.5)


@pytest.mark.parametrize("name", REGRESSIONS)
def test_off_it_draws_and_reports_nothing(name: str) -> None:
    left = []
    for options in ({}, {"quasi_conservative": 0}, {"quasi_conservative": {"share": 0.5}}):
        g, objective = generator(1), fg.objectives.build(name, **options)
        loss = objective(model(), **batch(8), generator=g)
        left.append((loss.item(), torch.rand(1, generator=g).item()))
        assert not objective.report
    assert left[0] == left[1] == left[2]


@pytest.mark.parametrize("time", ["uniform", "importance"])
def test_a_share_stands_for_the_batch(time: str) -> None:
    field = model()
    losses = {}
    for share in (0.0, 0.26, 1.0):
        penalty = {"weight": 1.0, "share": share} if share else 0.0
        objective = fg.objectives.build("cfm", quasi_conservative=penalty, time=time)
        losses[share] = objective.losses(field, **batch(8), generator=generator(2))
    part, whole = losses[0.26] - losses[0.0], losses[1.0] - losses[0.0]
    assert (whole > 0).all()
    torch.testing.assert_close(part[:3], 8 / 3 * whole[:3])
    assert (part[3:] == 0).all()


@pytest.mark.parametrize("predicts", ["velocity", "noise", "data", "edm"])
def test_gradients_are_those_of_the_exact_penalty(predicts: str) -> None:
    field = model(predicts=predicts)
    penalty = fg.objectives.build("cfm", quasi_conservative=1.0).quasi_conservative
    g = generator(0)
    x, t = torch.randn(5, 2, generator=g, dtype=torch.float64), 0.1 + 0.8 * torch.rand(5, generator=g).double()
    y = torch.randint(4, (5,), generator=g)
    parameters = dict(field.named_parameters())

    def truth(parameters: dict[str, Tensor]) -> Tensor:
        return halved(exact(lambda *args: functional_call(field, parameters, args), x, t, y)).mean()

    expected = torch.func.grad(truth)(parameters)
    penalty(field, x, t, y, generator(1))[0].mean().backward()
    for name, p in parameters.items():
        found = torch.zeros_like(p) if p.grad is None else p.grad
        torch.testing.assert_close(found, expected[name], rtol=1e-8, atol=1e-12)


def test_one_dropout_mask_for_both_products() -> None:
    """An energy is conservative under every mask, and would seem not to be if the two products had one each."""
    within = {"name": "unet", "channels": 1, "num_classes": 3, **UNET}
    options = {"weight": 1.0, "of": "velocity"}
    penalty = fg.objectives.build("cfm", quasi_conservative=options).quasi_conservative
    x, t, y = torch.randn(3, 1, 4, 4).double(), torch.rand(3).double(), torch.arange(3)
    network = fg.networks.build("energy", network=within).double().train()
    for i, p in enumerate(network.parameters()):
        nn.init.normal_(p, std=0.1, generator=generator(i))
    field = fg.NetworkField(network, fg.paths.build("linear"))
    turned, size = penalty(field, x, t, y, generator(0))
    assert turned.max() < 1e-24 < size.min()
    free = fg.NetworkField(network.network, fg.paths.build("linear"))
    turned, size = penalty(free, x, t, y, generator(0))
    assert turned.min() > 1e-8
    turned.mean().backward()  # through attention
    assert all(p.grad is None or p.grad.isfinite().all() for p in free.parameters())


def test_gradients_are_the_same_where_activations_are_computed_again() -> None:
    """By the same kernel of attention, which outside of the penalty is another one."""
    gradients, objective = [], fg.objectives.build("cfm", quasi_conservative=1.0)
    data = torch.randn(3, 1, 4, 4, generator=generator(0), dtype=torch.float64)
    for checkpointing in (False, True):
        options = {"channels": 1, "num_classes": 3, **UNET, "dropout": 0.0, "checkpointing": checkpointing}
        network = fg.networks.build("unet", **options).double()
        for i, p in enumerate(network.parameters()):
            nn.init.normal_(p, std=0.1, generator=generator(i))
        field = fg.NetworkField(network, fg.paths.build("linear"))
        objective(field, data=data, cond=torch.arange(3), generator=generator(0)).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_without_recorded_gradients() -> None:
    field, objective = model(), fg.objectives.build("dsm", quasi_conservative=0.5)
    expected = objective(field, **batch(8), generator=generator(0))
    with torch.no_grad():
        found = objective(field, **batch(8), generator=generator(0))
    assert expected.requires_grad
    assert not found.requires_grad
    torch.testing.assert_close(found, expected.detach())


def test_it_makes_a_network_nearly_conservative() -> None:
    moons, found = fg.data.build("moons"), {}
    held_out = fg.data.build("moons", split="test")
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        field = fg.NetworkField(fg.networks.build("mlp", dim=2, num_classes=2, width=32, depth=1), model().path)
        objective = fg.objectives.build("cfm", label_dropout=0.0, quasi_conservative=weight)
        optimizer, g = torch.optim.Adam(field.parameters(), 5e-3), generator(0)
        for _ in range(200):
            chosen = torch.randint(len(moons), (128,), generator=g)
            optimizer.zero_grad()
            objective(field, data=moons.data[chosen], cond=moons.labels[chosen], generator=g).backward()
            optimizer.step()
        judge = fg.objectives.build("cfm", label_dropout=0.0, quasi_conservative=1.0)
        with torch.no_grad():
            judge(field, data=held_out.data, cond=held_out.labels, generator=generator(1))
        found[weight] = {name: float(value) for name, value in judge.report.items()}
    assert found[10.0]["asymmetry_ratio"] < 0.5 * found[0.0]["asymmetry_ratio"]
    assert found[10.0]["error"] < 1.02 * found[0.0]["error"]


@pytest.mark.parametrize("name", REGRESSIONS)
@pytest.mark.parametrize(
    ("option", "words"),
    [
        (-0.1, "quasi_conservative is the weight of a penalty, at least 0 and finite, not -0.1"),
        (float("nan"), "at least 0 and finite, not nan"),
        ({"weight": float("inf")}, "at least 0 and finite, not inf"),
        ({"weight": 1.0, "share": 0.0}, r"that pays for quasi_conservative is in \(0, 1\], not 0.0"),
        ({"weight": 1.0, "share": 1.5}, r"in \(0, 1\], not 1.5"),
        ({"weight": 1.0, "of": "eps"}, "option 'of' of quasi_conservative must be one of 'velocity', .*, not 'eps'"),
        ({"wieght": 1.0}, "unknown option of quasi_conservative: 'wieght'; did you mean 'weight'"),
        ("strong", "option 'quasi_conservative' of objective .* must be a number or a group of settings, not 'strong'"),
    ],
)
def test_says_what_is_wrong(name: str, option: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.objectives.build(name, quasi_conservative=option)
