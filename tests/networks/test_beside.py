"""An image beside the state: every network that can be shown one."""

from typing import Any

import pytest
import torch
from torch.nn import functional, init

import flowguide as fg

UNET = {"width": 16, "multipliers": [1, 2], "blocks": 1, "attention": []}
SMALL = {
    "ddpmpp": UNET,
    "dit": {"patch": 2, "depth": 1, "width": 16, "heads": 2},
    "unet": {**UNET, "head_width": 8},
}
NETWORKS = [
    name for name in fg.networks.names() if issubclass(fg.networks.registry.get(name), fg.networks.ImageNetwork)
]
every_network = pytest.mark.parametrize("name", NETWORKS)
X, T = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.2, 0.7])
IMAGE = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def build(name: str, labels: int | None = 3, extra: int = 3, **more: Any) -> fg.networks.ImageNetwork:
    torch.manual_seed(0)
    options = {"channels": 2, "num_classes": labels, "extra_channels": extra, **SMALL.get(name, {}), **more}
    network = fg.networks.build(name, **options)
    for parameter in network.parameters():
        init.normal_(parameter, std=0.2)
    return network.eval()


@every_network
@pytest.mark.parametrize("labels", [torch.tensor([2, 0]), None])
def test_an_image_beside_the_state_goes_where_labels_go(name: str, labels: torch.Tensor | None) -> None:
    network = build(name, None if labels is None else 3)
    cond = network.join(IMAGE, labels)
    output = network(X, T, cond)
    assert output.shape == X.shape
    assert torch.equal(network(X, T, network.encode(cond)), output)
    alone = network(X[1:], T[1:], network.join(IMAGE[1:], None if labels is None else labels[1:]))
    torch.testing.assert_close(alone, output[1:], rtol=1e-4, atol=1e-5)
    larger = functional.interpolate(IMAGE, (8, 8), mode="bilinear")
    torch.testing.assert_close(network(X, T, network.join(larger, labels)), output)
    assert not torch.allclose(network(X, T, network.join(IMAGE.flip(0), labels)), output, atol=1e-3)


@every_network
def test_the_null_condition_keeps_the_image_and_drops_the_label(name: str) -> None:
    network = build(name)
    none = network.null_of(network.join(IMAGE, torch.tensor([2, 0])))
    assert torch.equal(none, network.join(IMAGE, torch.tensor([3, 3])))
    assert network.null(2) is None
    assert build(name, None).null_of(IMAGE) is None
    assert build(name, null_label=False).null_of(network.join(IMAGE, torch.tensor([2, 0]))) is None


@every_network
def test_without_an_image_it_is_the_network_that_it_was(name: str) -> None:
    plain, shown = build(name, extra=0), build(name)
    assert (plain.num_classes, plain.needs_condition, plain.labels) == (3, False, 3)
    assert (shown.num_classes, shown.needs_condition, shown.labels) == (None, True, 3)
    shapes = [{key: value.shape for key, value in each.state_dict().items()} for each in (plain, shown)]
    assert [key for key in shapes[0] if shapes[0][key] != shapes[1][key]] == ["enter.weight"]
    with pytest.raises(ValueError, match="takes no image in its condition"):
        plain.join(IMAGE, torch.tensor([2, 0]))


@every_network
@pytest.mark.parametrize(
    ("labels", "act", "sentence"),
    [
        (3, lambda net: net(X, T), "no null condition, so it predicts nothing without one: pass cond"),
        (3, lambda net: net(X, T, IMAGE), "condition is an image of 4 channels"),
        (None, lambda net: net(X, T, IMAGE[:, :2]), "condition is an image of 3 channels"),
        (3, lambda net: net.join(IMAGE[:, :2], torch.tensor([0, 1])), r"takes an image of shape \(B, 3, h, w\)"),
        (3, lambda net: net.join(IMAGE), "takes labels of 3 classes with its image, and none were given"),
        (None, lambda net: net.join(IMAGE, torch.tensor([0, 1])), "takes no labels with its image, and some were"),
        (3, lambda net: net.join(IMAGE, torch.tensor([0, 4])), "labels must be 2 integers from 0 to 3"),
        (3, lambda net: net.join(IMAGE, torch.tensor([0.0, 1.0])), "labels must be 2 integers from 0 to 3"),
    ],
)
def test_conditions_that_are_none(name: str, labels: int | None, act: Any, sentence: str) -> None:
    network = build(name, labels)
    with pytest.raises(ValueError, match=sentence):
        act(network)


@every_network
def test_options_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match=f"a {name} needs extra_channels >= 0, not -1"):
        build(name, extra=-1)
    if "sequence" in fg.networks.registry.options(name):
        with pytest.raises(ValueError, match="joins an image with labels"):
            build(name, None, sequence=[4, 5])
