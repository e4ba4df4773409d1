"""What must hold of every registered conditioner."""

import pytest
import torch
from torch.testing import assert_close

import flowguide as fg
from flowguide import conditioners, data

# Options for those whose defaults need a library.
OPTIONS = {"text": {"encoder": "words", "max_length": 12}, "low_resolution": {"size": 8}}
GLYPHS = {"size": 16, "count": 24, "test_count": 12, "letters": "AB", "colours": ["red", "cyan"]}


@pytest.fixture(scope="module")
def glyphs() -> data.Dataset:
    return data.build("glyphs", **GLYPHS)


def test_labels_are_told_unless_something_else_is_named() -> None:
    digits = data.build("digits")
    conditioner = conditioners.build("label")
    same, tell = conditioner.prepare(digits)
    images, labels = same.batch(torch.arange(5))
    assert same is digits
    assert tell(images, labels, torch.Generator()) is labels
    assert conditioner.options(digits) == {"num_classes": 10}
    assert conditioner.null() is None


@pytest.mark.parametrize("name", conditioners.names())
@pytest.mark.parametrize("network", ["unet", "dit"])
def test_what_is_told_is_what_its_network_takes(name: str, network: str, glyphs: data.Dataset) -> None:
    conditioner = conditioners.build(name, **OPTIONS.get(name, {}))
    told = conditioner.options(glyphs)
    prepared, tell = conditioner.prepare(glyphs)
    images, labels = prepared.batch(torch.arange(24))
    conds, again = (tell(images, labels, torch.Generator().manual_seed(3)) for _ in range(2))
    assert_close(conds, again, rtol=0, atol=0, equal_nan=True)
    assert len(conds) == 24
    assert conds.device == images.device
    small = {"width": 32} | (
        {"depth": 1, "heads": 2} if network == "dit" else {"multipliers": [1, 2], "blocks": 1, "attention": [1]}
    )
    component = fg.networks.registry.get(network)
    if not set(told) - {"num_classes"} <= set(fg.networks.registry.options(network)):
        pytest.skip(f"a {network} takes no images")
    options = {**component.options_for(glyphs.shape, told.pop("num_classes", None)), **told, **small}
    built = fg.networks.build(network, **options)
    null = conditioner.null()
    if null is not None:
        assert null.shape == conds.shape[1:]
        built.set_null(null)
        assert_close(built.null(2)[1], null, equal_nan=True)
    assert built(images, torch.tensor(0.5), conds).shape == images.shape
    assert built.null_of(conds).shape == conds.shape


@pytest.mark.parametrize("name", conditioners.names())
def test_what_is_asked_for_is_what_was_told(name: str, glyphs: data.Dataset) -> None:
    conditioner = conditioners.build(name, **OPTIONS.get(name, {}))
    _, tell = conditioner.prepare(glyphs)
    images, labels = glyphs.batch(torch.arange(2))
    told = tell(images, labels, torch.Generator())
    num_classes = conditioner.options(glyphs).get("num_classes")
    asked = conditioners.Asked(5, num_classes, lambda split: data.build("glyphs", split=split, **GLYPHS))
    swept = conditioner.ask(None, asked)
    assert len(swept) == 5
    if name == "low_resolution":  # the image is given (fields/given.py), and a label is asked for
        told = labels
    assert swept.shape[1:] == told.shape[1:]
    assert swept.dtype == told.dtype
