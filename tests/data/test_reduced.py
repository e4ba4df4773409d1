"""Another data set at a lower resolution."""

from pathlib import Path

import numpy
import pytest
import stored_data
import torch

import flowguide as fg

GLYPHS = {"name": "glyphs", "size": 16, "count": 30, "test_count": 20, "letters": "ABC"}


def test_a_pixel_is_the_mean_of_a_block_to_half_a_byte() -> None:
    small = fg.data.build("reduced", of=GLYPHS, size=4)
    whole = fg.data.registry.build_from(GLYPHS)
    assert small.shape == (3, 4, 4)
    assert small.data.dtype == torch.uint8
    assert torch.equal(small.labels, whole.labels)
    means = whole.data.numpy().astype(numpy.float64).reshape(30, 3, 4, 4, 4, 4).mean((3, 5))
    assert numpy.abs(small.data.numpy() - means).max() <= 0.5 + 1e-4
    assert (small.captions, small.attributes.keys()) == (whole.captions, whole.attributes.keys())
    test = fg.data.build("reduced", "test", of=GLYPHS, size=4)
    assert len(test) == 20


def test_it_is_what_a_super_resolution_stage_is_shown() -> None:
    small = fg.data.build("reduced", of=GLYPHS, size=8).samples
    _, tell = fg.conditioners.build("low_resolution", size=8, augmentation=None).prepare(
        fg.data.registry.build_from(GLYPHS)
    )
    shown = tell(fg.data.registry.build_from(GLYPHS).samples, None, torch.Generator())
    torch.testing.assert_close(small, shown, rtol=0, atol=0.5 / 127.5 + 1e-5)


def test_streamed_and_in_memory_alike(tmp_path: Path) -> None:
    options = stored_data.write_images(tmp_path / "pictures", each=6)
    held, streamed = (
        fg.data.build("reduced", of={"name": "image_folder", **options, "stream": stream}, size=4)
        for stream in (False, True)
    )
    assert isinstance(streamed, fg.data.Streamed)
    assert torch.equal(held.samples, streamed.samples)
    assert streamed.reader[[1]].images.shape == (1, 3, 4, 4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"of": GLYPHS, "size": 5}, r"samples of shape \(3, 16, 16\) cannot be reduced to 5x5"),
        ({"of": GLYPHS, "size": 16}, "cannot be reduced to 16x16"),
        ({"of": GLYPHS, "size": 0}, "size is a number of pixels, at least 1, not 0"),
        ({"of": {"name": "moons"}, "size": 1}, r"samples of shape \(2,\) cannot be reduced"),
        ({"of": {"name": "glifs"}, "size": 4}, "did you mean 'glyphs'"),
        ({"of": {"size": 16}, "size": 4}, "a data set needs a name"),
        ({"size": 4}, "of"),
    ],
)
def test_mistakes(options: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        fg.data.build("reduced", **options)
