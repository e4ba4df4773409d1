"""Energy networks: their output is the gradient of a scalar, and conservative in every kind of prediction."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import generator, path_names, seeds
from torch import Tensor, nn
from torch.func import jacrev, vmap

import flowguide as fg

UNET = {"name": "unet", "width": 8, "head_width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [0, 1]}


def energy(shape: tuple[int, ...], seed: int = 0, network: Any = "mlp", classes: int | None = 3) -> fg.networks.Network:
    """An energy network with random weights everywhere, layers that start at zero included; float64."""
    if network == "mlp":
        network = {"name": "mlp", "width": 16, "depth": 2}
    built = fg.networks.build("energy", network=network, shape=shape, num_classes=classes).double().eval()
    g = generator(seed)
    for p in built.parameters():
        nn.init.normal_(p, std=0.3 if p.ndim < 4 else 0.1, generator=g)
    return built


def jacobians(function: Any, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
    """Of one sample at a time, by autograd: shape (B, D, D)."""
    size = x[0].numel()

    def one(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return torch.autograd.functional.jacobian(lambda x: function(x, t, cond), x).reshape(size, size)

    return torch.stack([one(x[i : i + 1], t[i : i + 1], cond[i : i + 1]) for i in range(len(x))])


def asymmetry(j: Tensor) -> float:
    return float((j - j.mT).norm() / j.norm())


@settings(max_examples=40)
@given(st.integers(1, 4), path_names, st.sampled_from(fg.paths.OUTPUTS), st.sampled_from(fg.paths.KINDS), seeds)
def test_every_kind_is_a_gradient_whatever_is_predicted(dim: int, path: str, predicts: str, kind: str, seed: int):
    network, g = energy((dim,), seed), generator(seed)
    field = fg.NetworkField(network, fg.paths.build(path), predicts)
    x = torch.randn(4, dim, generator=g, dtype=torch.float64)
    t = 0.05 + 0.9 * torch.rand(4, generator=g, dtype=torch.float64)
    j = jacobians(lambda x, t, y: getattr(field(x, t, y), kind), x, t, torch.arange(4))
    assert asymmetry(j) < 1e-12
    guided = fg.guidance.build("cfg", field, w=3.0)
    assert asymmetry(jacobians(lambda x, t, y: getattr(guided(x, t, y), kind), x, t, torch.arange(4))) < 1e-12


@pytest.mark.parametrize(("shape", "inner"), [((3,), "mlp"), ((1, 4, 4), UNET)])
def test_the_output_is_the_gradient_of_the_energy(shape: tuple[int, ...], inner: Any) -> None:
    network = energy(shape, network=inner)
    x = torch.randn(4, *shape, dtype=torch.float64, requires_grad=True)
    t, y = torch.rand(4, dtype=torch.float64), torch.arange(4)
    value = network.energy(x, t, y)
    assert value.shape == (4,)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(network(x, t, y), gradient, rtol=1e-12, atol=1e-12)


def test_symmetric_to_rounding_in_float32() -> None:
    network, x, t = energy((4,)).float(), torch.randn(16, 4), torch.rand(16)
    assert asymmetry(jacobians(network, x, t, torch.arange(16) % 4)) < 2e-6
    free = network.network
    assert asymmetry(jacobians(free, x, t, torch.arange(16) % 4)) > 0.1, "the network itself is no gradient"


@pytest.mark.parametrize(("shape", "inner"), [((3,), "mlp"), ((1, 4, 4), UNET)])
def test_all_ways_of_differentiating_agree(shape: tuple[int, ...], inner: Any) -> None:
    """Forward mode, reverse mode and both batched, through attention too."""
    network = energy(shape, network=inner)
    g = generator(0)
    x, v = (torch.randn(3, *shape, generator=g, dtype=torch.float64) for _ in range(2))
    t, y = torch.rand(3, generator=g, dtype=torch.float64), torch.tensor([0, 1, 3])
    size = x[0].numel()
    expected = jacobians(network, x, t, y)
    assert asymmetry(expected) < 1e-12
    batched = vmap(jacrev(lambda x, t, y: network(x[None], t, y[None])[0]))(x, t, y)
    torch.testing.assert_close(batched.reshape(3, size, size), expected, rtol=1e-10, atol=1e-10)
    product = torch.einsum("bij,bj->bi", expected, v.flatten(1)).reshape(x.shape)
    # torch's forward mode of group normalisation takes no channels_last, of any network.
    network.to(memory_format=torch.contiguous_format)
    _, forward = torch.func.jvp(lambda x: network(x, t, y), (x,), (v,))
    _, pull = torch.func.vjp(lambda x: network(x, t, y), x)
    torch.testing.assert_close(forward, product, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(pull(v)[0], product, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("shape", "inner"), [((3,), "mlp"), ((1, 4, 4), UNET)])
def test_the_same_with_and_without_recorded_gradients(shape: tuple[int, ...], inner: Any) -> None:
    network = energy(shape, network=inner)
    x, t, y = torch.randn(4, *shape, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64), torch.arange(4)
    expected = network(x, t, y)
    assert expected.requires_grad
    with torch.no_grad():
        alone = network(x, t, y)
    assert not alone.requires_grad
    torch.testing.assert_close(alone, expected, rtol=1e-12, atol=1e-12)
    with torch.inference_mode():
        assert torch.equal(network(x.clone(), t.clone(), y.clone()), alone)
    twin = copy.deepcopy(network).requires_grad_(False)
    torch.testing.assert_close(twin(x, t, y), expected.detach(), rtol=1e-12, atol=1e-12)
    innermost = x.to(memory_format=torch.channels_last) if x.ndim == 4 else x
    torch.testing.assert_close(network(innermost, t, y), expected, rtol=1e-12, atol=1e-12)


def test_autocast_does_not_round_the_gradient() -> None:
    network, x, t = energy((1, 4, 4), network=UNET).float(), torch.randn(4, 1, 4, 4), torch.rand(4)
    expected = network(x, t)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(x, t), expected)
        assert network(x.bfloat16(), t.bfloat16()).dtype == torch.bfloat16
    short = network.bfloat16()(x.bfloat16(), t.bfloat16())
    assert short.dtype == torch.bfloat16
    assert (short.float() - expected).norm() < 0.2 * expected.norm()


@pytest.mark.parametrize(
    ("shape", "inner", "names"),
    [
        ((3,), "mlp", ["embed.label.weight", "blocks.0.modulate.1.weight", "enter.weight"]),
        ((1, 4, 4), UNET, ["embed.label.weight", "middle.0.attention.project.weight", "enter.weight"]),
    ],
)
def test_parameters_have_the_gradients_of_finite_differences(shape: tuple[int, ...], inner: Any, names: list[str]):
    """Training differentiates twice: the loss by the weights, through the gradient by x, through attention."""
    network = energy(shape, network=inner)
    g = generator(1)
    x, t = torch.randn(3, *shape, generator=g, dtype=torch.float64), torch.rand(3, generator=g, dtype=torch.float64)
    network(x, t, torch.arange(3)).square().sum().backward()
    for name in names:
        p, step = network.network.get_parameter(name), 1e-5
        direction = torch.randn(p.shape, generator=g, dtype=torch.float64)
        values = []
        with torch.no_grad():
            for sign in (1, -1):
                p += sign * step * direction
                values.append(network(x, t, torch.arange(3)).square().sum())
                p -= sign * step * direction
        torch.testing.assert_close((p.grad * direction).sum(), (values[0] - values[1]) / (2 * step), rtol=1e-6, atol=0)


def test_conditions_are_those_of_the_network_within() -> None:
    network = energy((2,))
    assert network.num_classes == 3
    assert torch.equal(network.null(2), torch.tensor([3, 3]))
    assert energy((2,), classes=None).null(2) is None
    given = fg.networks.build("energy", network={"name": "mlp", "dim": 2, "num_classes": 5})
    assert given.num_classes == 5
    assert fg.networks.build("energy", network={"name": "mlp", "dim": 2}, num_classes=4).num_classes == 4
    with pytest.raises(ValueError, match="label 9 is not one of the 5 classes"):
        fg.NetworkField(given, fg.paths.build("linear"))(torch.zeros(1, 2), 0.5, torch.tensor([9]))


def test_it_has_the_parameters_of_the_network_within_and_trains_as_well() -> None:
    moons, losses = fg.data.build("moons"), {}
    objective = fg.objectives.build("cfm", label_dropout=0.0)
    inner = {"name": "mlp", "dim": 2, "num_classes": 2, "width": 32, "depth": 2}
    for name, options in {"free": inner, "energy": {"name": "energy", "network": inner}}.items():
        torch.manual_seed(0)
        model = fg.NetworkField(fg.networks.registry.build_from(options), fg.paths.build("linear"))
        assert sum(p.numel() for p in model.parameters()) == 16066
        optimizer, g = torch.optim.Adam(model.parameters()), generator(0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=300)
        for _ in range(300):
            chosen = torch.randint(len(moons), (128,), generator=g)
            optimizer.zero_grad()
            objective(model, data=moons.data[chosen], cond=moons.labels[chosen], generator=g).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            losses[name] = float(objective(model, data=moons.data, cond=moons.labels, generator=generator(1)))
    assert losses["energy"] < 1.02 * losses["free"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"network": "mlpp"}, "unknown network 'mlpp'; did you mean 'mlp'"),
        ({"network": {"name": "mlpp"}}, "unknown network 'mlpp'; did you mean 'mlp'"),
        ({"network": {"width": 8}}, "the network of an energy needs a name, one of .*convnet, .*, not {'width': 8}"),
        ({"network": None}, "option 'network' of network 'energy' must be a string or a group of settings, not None"),
        ({"network": "mlp"}, r"network 'mlp' needs the option 'dim' \(an integer\)"),
        ({"network": {"name": "mlp", "widht": 8}, "shape": [2]}, "'widht'; did you mean 'width'"),
        ({"network": "unet", "shape": [2]}, "a unet takes images"),
        (
            {"network": {"name": "mlp", "dim": 2, "checkpointing": True}},
            "cannot compute activations again, since its gradient is taken within each evaluation",
        ),
        ({"network": "energy", "shape": [2]}, "whose gradient is still to be taken, not an energy again"),
        ({"network": "convnet", "shape": [1, 8, 8]}, r"network\(x, t, cond\), as mlp and unet are; 'convnet' is a cla"),
        ({"network": "mlp_classifier", "shape": [2], "num_classes": 2}, "'mlp_classifier' is a classifier"),
    ],
)
def test_says_what_is_wrong(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        fg.networks.build("energy", **options)
    assert "\n" not in str(caught.value)
