"""An image beside the state: every network that can be shown one, with every kind of condition beside the image."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional, init

import flowguide as fg
from flowguide.networks.joined import apart, channels_for, joined

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
MARKED = fg.networks.masked(
    torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(2)), torch.tensor([[1, 1, 0, 1, 0], [0] * 5])
)
# What is beside the image: the options of a network for it, and two of it. Sequences fill more than one channel of 4x4.
KINDS = {
    "nothing": ({"num_classes": None}, None),
    "labels": ({"num_classes": 3}, torch.tensor([2, 0])),
    "embeddings": ({"num_classes": None, "embedding": 6}, MARKED[0, [0, 1], :6].contiguous()),
    "sequences": ({"num_classes": None, "sequence": [5, 7]}, MARKED),
}
EVERY = [
    (name, kind)
    for name in NETWORKS
    for kind, (options, _) in KINDS.items()
    if set(options) <= set(fg.networks.registry.options(name))
]
every_kind = pytest.mark.parametrize(("name", "kind"), EVERY)
X, T = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.2, 0.7])
IMAGE = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def build(name: str, labels: int | None = 3, extra: int = 3, **more: Any) -> fg.networks.ImageNetwork:
    torch.manual_seed(0)
    options = {"channels": 2, "num_classes": labels, "extra_channels": extra, **SMALL.get(name, {}), **more}
    network = fg.networks.build(name, **options)
    for parameter in network.parameters():
        init.normal_(parameter, std=0.2)
    return network.eval()


def built(name: str, kind: str, **more: Any) -> tuple[fg.networks.ImageNetwork, torch.Tensor | None]:
    """A network, and two of what it takes beside the image."""
    options, rest = KINDS[kind]
    sizes = {"attention": [1]} if kind == "sequences" and name == "unet" else {}
    return build(name, options["num_classes"], **{**options, **sizes, **more}), rest


@every_kind
def test_an_image_beside_the_state_goes_where_the_rest_goes(name: str, kind: str) -> None:
    network, rest = built(name, kind)
    cond = network.join(IMAGE, rest)
    output = network(X, T, cond)
    assert output.shape == X.shape
    assert output.isfinite().all()
    assert torch.equal(network(X, T, network.encode(cond)), output)
    alone = network(X[1:], T[1:], network.join(IMAGE[1:], None if rest is None else rest[1:]))
    torch.testing.assert_close(alone, output[1:], rtol=1e-4, atol=1e-5)
    larger = functional.interpolate(IMAGE, (8, 8), mode="bilinear")
    torch.testing.assert_close(network(X, T, network.join(larger, rest)), output)
    assert not torch.allclose(network(X, T, network.join(IMAGE.flip(0), rest)), output, atol=1e-3)
    if rest is not None:
        assert not torch.allclose(network(X, T, network.join(IMAGE, rest.flip(0))), output, atol=1e-3)


@every_kind
def test_joined_is_told_separately(name: str, kind: str) -> None:
    """The image, enlarged, is channels of the state, and the rest is what it is without an image, to the bit."""
    network, rest = built(name, kind)
    beside, encoded = network.told(X, network.join(IMAGE, rest))
    assert torch.equal(beside, torch.cat([X, functional.interpolate(IMAGE, (8, 8), mode="bilinear")], 1))
    plain, _ = built(name, kind, extra=0)
    plain.load_state_dict({**network.state_dict(), "enter.weight": plain.enter.weight})
    _, expected = plain.told(X, rest)
    assert (rest is None) == (not encoded)
    for mine, theirs in zip(encoded, expected or (), strict=True):
        assert torch.equal(mine, theirs)


@every_kind
def test_the_null_condition_keeps_the_image_and_drops_the_rest(name: str, kind: str) -> None:
    network, rest = built(name, kind)
    none = network.null_of(network.join(IMAGE, rest))
    assert network.null(2) is None
    if rest is None:
        assert none is None
        return
    if kind != "labels":
        network.set_null(rest[0])
        none = network.null_of(network.join(IMAGE, rest))
    expected = network.join(IMAGE, torch.tensor([3, 3]) if kind == "labels" else rest[[0, 0]])
    torch.testing.assert_close(none, expected, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(none[:, :3], IMAGE)


@every_network
def test_without_a_null_label_there_is_none_beside_the_image(name: str) -> None:
    network = build(name, null_label=False)
    assert network.null_of(network.join(IMAGE, torch.tensor([2, 0]))) is None


@given(
    numbers=st.sampled_from([(), (1,), (6,), (16,), (17,), (5, 7)]),
    size=st.sampled_from([(1, 1), (4, 4), (3, 5)]),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 1000),
)
def test_what_was_joined_comes_apart(numbers: tuple, size: tuple, dtype: torch.dtype, seed: int) -> None:
    """Exact, in the image's type or a longer one: labels up to a million, embeddings, absent tokens."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(3, 2, *size, generator=generator).to(dtype)
    if numbers:
        rest = torch.randn(3, *numbers, generator=generator)
        rest[0, 0] = torch.nan
    else:
        rest = torch.randint(0, 10**6 + 1, (3,), generator=generator)
        rest[0] = 10**6
    cond = joined(image, rest)
    assert cond.shape == (3, 2 + channels_for(numbers, image.shape), *size)
    again, told = apart(cond, 2, numbers)
    assert torch.equal(again.to(dtype), image)
    torch.testing.assert_close(told, rest.to(told), rtol=0, atol=0, equal_nan=True)
    if not numbers:
        assert torch.equal(told.long(), rest)
        assert (cond[:, 2] == cond[:, 2, :1, :1]).all()


@every_kind
def test_under_autocast_labels_stay_whole_and_absent_tokens_absent(name: str, kind: str) -> None:
    network, rest = built(name, kind, **({"num_classes": 1000} if kind == "labels" else {}))
    rest = torch.tensor([999, 257]) if kind == "labels" else rest
    with torch.autocast("cpu", torch.bfloat16):
        cond = network.join(IMAGE.bfloat16(), rest)
        encoded = network.encode(cond)
        assert network(X, T, cond).isfinite().all()
        if rest is not None:
            for mine, theirs in zip(encoded, network.encode_rest(rest), strict=False):
                assert torch.equal(mine, theirs)


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
        (
            3,
            lambda net: net(X, T, torch.tensor([0, 1])),
            r"condition is an image of 4 channels .*, not of shape \(2,\)",
        ),
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


@pytest.mark.parametrize(
    ("kind", "act", "sentence"),
    [
        ("embeddings", lambda net: net.join(IMAGE), "takes embeddings with its image, and none were given"),
        ("embeddings", lambda net: net.join(IMAGE, torch.tensor([0, 1])), r"embeddings of shape \(B, 6\), not int64"),
        ("embeddings", lambda net: net.join(IMAGE, torch.ones(2, 7)), r"shape \(B, 6\), not float32 of shape \(2, 7\)"),
        ("embeddings", lambda net: net.join(IMAGE, torch.ones(3, 6)), "there are 2 images, and embeddings for 3"),
        ("sequences", lambda net: net.join(IMAGE, torch.ones(2, 7, 5)), r"sequences of shape \(B, 5, 7\)"),
        (
            "sequences",
            lambda net: net(X, T, IMAGE),
            r"an image of 6 channels \(see join\), not of shape \(2, 3, 4, 4\)",
        ),
    ],
)
@pytest.mark.parametrize("name", [name for name, kind in EVERY if kind == "sequences"])
def test_what_is_no_caption_of_this_network(name: str, kind: str, act: Any, sentence: str) -> None:
    network, _ = built(name, kind)
    with pytest.raises(ValueError, match=sentence):
        act(network)
