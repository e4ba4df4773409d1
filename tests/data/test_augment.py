import io

import numpy
import pytest
import torch
from PIL import Image

from flowguide.data import flipped, random_crop
from flowguide.data.augment import fitted


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_a_coin_for_each_image(dtype: torch.dtype) -> None:
    images = torch.randint(256, (400, 3, 4, 5)).to(dtype)
    out = flipped(images, generator())
    assert out.dtype == dtype
    same = (out == images).flatten(1).all(1)
    mirrored = (out == images.flip(-1)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 150 < same.sum() < 250
    assert torch.equal(out, flipped(images, generator()))
    assert not torch.equal(out, flipped(images, generator(1)))


def test_crops_lie_in_their_images() -> None:
    # Every pixel holds its place, so that a crop tells where it was taken.
    place = torch.arange(6 * 9).reshape(6, 9)
    out = random_crop(place.expand(600, 2, 6, 9), 4, generator())
    assert out.shape == (600, 2, 4, 4)
    corners = out[:, 0, 0, 0]
    assert set(corners.tolist()) == {int(place[top, left]) for top in range(3) for left in range(6)}
    assert torch.equal(out, (corners[:, None, None] + place[:4, :4])[:, None].expand(-1, 2, -1, -1))
    whole = torch.rand(5, 1, 4, 4)
    assert torch.equal(random_crop(whole, 4, generator()), whole)
    for size in (0, 7):
        with pytest.raises(ValueError, match=f"a crop of {size} pixels cannot be taken from images of 6x9"):
            random_crop(torch.zeros(1, 1, 6, 9), size, generator())


def test_the_middle_square_at_size() -> None:
    # Red to the left, green in the middle square, blue to the right.
    wide = numpy.zeros((30, 90, 3), numpy.uint8)
    for third in range(3):
        wide[:, 30 * third : 30 * third + 30, third] = 200
    out = fitted(Image.fromarray(wide), 10)
    assert out.shape == (3, 10, 10)
    assert out.dtype == torch.uint8
    green = torch.tensor([0, 200, 0], dtype=torch.uint8)[:, None, None]
    assert torch.equal(out[:, :, 2:8], green.expand(3, 10, 6))
    assert out[1].min() > 150  # the filter reaches a little beyond the square, as it should
    assert torch.equal(fitted(Image.fromarray(wide.transpose(1, 0, 2)), 10), out.mT)
    assert fitted(Image.fromarray(wide), 10, channels=1).shape == (1, 10, 10)
    exact = numpy.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=numpy.uint8)
    assert torch.equal(fitted(Image.fromarray(exact), 8), torch.from_numpy(exact).permute(2, 0, 1))


def test_reducing_is_antialiased() -> None:
    board = numpy.indices((64, 64)).sum(0) % 2 * 255
    out = fitted(Image.fromarray(board.astype(numpy.uint8)), 8, channels=1)
    assert (out.float() - 127.5).abs().max() < 4  # black and white average out, and do not alias


def test_pictures_of_every_mode() -> None:
    grey = Image.new("L", (8, 8), 77)
    assert fitted(grey, 4).flatten(1).tolist() == [[77] * 16] * 3
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert (fitted(clear, 4) == 255).all()  # what is transparent becomes white
    deep = Image.fromarray(numpy.full((8, 8), 77 * 257, numpy.uint16))
    assert fitted(deep, 4).flatten(1).tolist() == [[77] * 16] * 3
    palette = Image.new("RGB", (8, 8), (255, 0, 0)).convert("P")
    assert fitted(palette, 4)[:, 0, 0].tolist() == [255, 0, 0]
    for mode in ("1", "CMYK", "LA", "I", "F", "YCbCr"):
        assert fitted(Image.new(mode, (8, 6)), 4).shape == (3, 4, 4)


def test_cameras_that_were_turned_and_jpegs_that_are_large() -> None:
    wide = numpy.zeros((512, 1024, 3), numpy.uint8)
    wide[:, 512:] = 255  # bright to the right
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise shows it upright: bright at the bottom
    Image.fromarray(wide).save(file, "JPEG", exif=exif)
    out = fitted(Image.open(file), 16, channels=1)[0].float()
    assert out[:7].max() < 20
    assert out[9:].min() > 235
