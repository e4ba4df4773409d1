"""DDPM++: every option trains, checkpointing changes nothing, and what is wrong is named."""

import pytest
import torch
from torch import nn

import flowguide as fg

SMALL = {"channels": 2, "num_classes": 3, "width": 16, "multipliers": [1, 2], "blocks": 1}
OPTIONS = {
    "default": {},
    "attention everywhere": {"attention": [0, 1], "heads": 4},
    "dropout": {"dropout": 0.5},
    "checkpointing": {"checkpointing": True},
    "no labels": {"num_classes": None},
    "no null label": {"null_label": False},
}


def build(**options) -> nn.Module:
    torch.manual_seed(0)
    network = fg.networks.build("ddpmpp", **{**SMALL, **options})
    for p in network.parameters():
        if not p.any():
            nn.init.normal_(p, std=0.1)
    return network


def inputs(network: nn.Module) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(1)
    x, t = torch.randn(2, 2, 8, 8, generator=g), torch.rand(2, generator=g)
    return (x, t) if network.num_classes is None else (x, t, torch.tensor([0, 2]))


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_makes_a_network_that_trains(name: str) -> None:
    network = build(**OPTIONS[name])
    output = network(*inputs(network))
    assert output.shape == (2, 2, 8, 8)
    assert torch.equal(network.eval()(*inputs(network)), network(*inputs(network)))
    output.square().sum().backward()
    assert not [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]


def test_attention_is_where_it_is_said_to_be() -> None:
    network = build(multipliers=[1, 2, 2], blocks=2, attention=[1])
    found = [[stage.attention is not None for stage in stages] for stages in (network.down, network.middle, network.up)]
    down = [False] * 3 + [True] * 2 + [False] * 3
    up = [False] * 4 + [False, False, True] + [False] * 4
    assert found == [down, [True, False], up]


def test_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        network = build(checkpointing=checkpointing, dropout=0.3)
        torch.manual_seed(5)
        network(*inputs(network)).square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_compiles_without_a_break() -> None:
    network = build().eval()
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(*inputs(network)), network(*inputs(network)), rtol=1e-5, atol=1e-5)


def test_in_half_precision() -> None:
    network = build().eval()
    x, t, y = inputs(network)
    with torch.no_grad():
        expected = network(x, t, y)
        short = network.bfloat16()(x.bfloat16(), t.bfloat16(), y)
    assert short.dtype == torch.bfloat16
    assert (short.float() - expected).norm() < 0.2 * expected.norm()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 18}, "multiple of 4, not 18; the nearest is"),
        ({"blocks": 0}, "a ddpmpp needs blocks >= 1, not 0"),
        ({"multipliers": []}, "at least one multiplier"),
        ({"dropout": 1.0}, "dropout is a probability"),
        ({"attention": [2]}, "attention names level 2, but this ddpmpp has levels 0 to 1"),
        ({"heads": 3}, "3 heads do not divide the channels of every level"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
    ],
)
def test_options_say_what_is_wrong(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(**options)


def test_it_says_what_it_takes() -> None:
    network = build(null_label=False)
    x, t, y = inputs(network)
    assert network.null(2) is None
    with pytest.raises(ValueError, match="no null condition, so it predicts nothing without one: pass cond"):
        network(x, t)
    with pytest.raises(ValueError, match=r"images of shape \(B, 2, H, W\), not \(2, 1, 8, 8\)"):
        network(x[:, :1], t, y)
    with pytest.raises(ValueError, match=r"multiples of 2, not \(7, 8\)"):
        network(x[:, :, 1:], t, y)
    with pytest.raises(ValueError, match="takes no conditions"):
        build(num_classes=None)(x, t, y)
    with pytest.raises(ValueError, match="a ddpmpp takes images"):
        fg.networks.registry.get("ddpmpp").options_for((2,), 3)
