"""What must hold of every registered conditioner."""

import pytest
import torch
from torch.testing import assert_close

import flowguide as fg
from flowguide import conditioners, data

# Options for those whose defaults need a library, and more than one set for those that take other conditioners.
WORDS = {"name": "text", "encoder": "words", "max_length": 12}
OPTIONS = {
    "text": [{"encoder": "words", "max_length": 12}, {"encoder": "words", "max_length": 12, "tokens": True}],
    "low_resolution": [
        {"size": 8, "beside": beside} for beside in ("label", "attributes", WORDS, {**WORDS, "tokens": True})
    ],
}
EVERY = [(name, options) for name in conditioners.names() for options in OPTIONS.get(name, [{}])]
every = pytest.mark.parametrize(("name", "chosen"), EVERY)
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


@every
@pytest.mark.parametrize("network", ["unet", "dit"])
def test_what_is_told_is_what_its_network_takes(name: str, chosen: dict, network: str, glyphs: data.Dataset) -> None:
    conditioner = conditioners.build(name, **chosen)
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
    options = {**component.options_for(glyphs.shape, told.pop("num_classes", None)), **told, **small}
    built = fg.networks.build(network, **options)
    null = conditioner.null()
    if null is not None:
        built.set_null(null)
        assert_close(built.conditioning.null(2)[1], null, equal_nan=True)
    assert built(images, torch.tensor(0.5), conds).shape == images.shape
    assert built.null_of(conds).shape == conds.shape


@every
def test_what_is_asked_for_is_what_was_told(name: str, chosen: dict, glyphs: data.Dataset) -> None:
    conditioner = conditioners.build(name, **chosen)
    # The image is given (fields/given.py), and what is beside it is asked for.
    tells = getattr(conditioner, "beside", conditioner)
    prepared, tell = tells.prepare(glyphs)
    images, labels = prepared.batch(torch.arange(2))
    told = tell(images, labels, torch.Generator())
    num_classes = conditioner.options(glyphs).get("num_classes")
    asked = conditioners.Asked(5, num_classes, lambda split: data.build("glyphs", split=split, **GLYPHS))
    swept = conditioner.ask(None, asked)
    assert len(swept) == 5
    assert swept.shape[1:] == told.shape[1:]
    assert swept.dtype == told.dtype
    held_out = conditioner.held_out(torch.tensor([4, 0, 11]), asked)
    assert (held_out.shape, held_out.dtype) == ((3, *told.shape[1:]), told.dtype)
    if conditioner.of_samples:
        assert_close(held_out[1], swept[0], rtol=0, atol=0, equal_nan=True)


class Darkness(conditioners.Conditioner):
    """One of a user's own, that says nothing of held-out samples."""

    def prepare(self, dataset):
        return dataset, lambda data, labels, generator: -data.flatten(1).mean(1, keepdim=True)


def test_what_held_out_samples_are_told_is_what_training_tells(glyphs: data.Dataset) -> None:
    asked = conditioners.Asked(3, None, lambda split: data.build("glyphs", split=split, **GLYPHS))
    test, rows = asked.dataset("test"), torch.tensor([3, 8])
    assert_close(Darkness().held_out(rows, asked), -test[rows].flatten(1).mean(1, keepdim=True))
    assert torch.equal(conditioners.build("label").held_out(rows, asked), test.labels[rows])
