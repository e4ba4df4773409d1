"""Images made to size, and images made more of.

What is random takes a generator, draws on its device, and tosses for every sample by itself.
"""

import numpy
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional


def flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored, left for right, with probability 1/2.

    Args:
        images: Shape (B, C, H, W), any type.
        generator: On the device of the images.
    Returns:
        The same shape.
    """
    coin = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(coin[:, None, None, None], images.flip(-1), images)


def random_crop(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """From each image a square of ``size`` pixels, anywhere in it.

    Args:
        images: Shape (B, C, H, W), any type.
        size: At most H and W.
        generator: On the device of the images.
    Returns:
        Shape (B, C, size, size).
    Raises:
        ValueError: if the images are smaller than that.
    """
    count, _, height, width = images.shape
    if not 1 <= size <= min(height, width):
        raise ValueError(f"a crop of {size} pixels cannot be taken from images of {height}x{width}")
    room = torch.tensor([height - size + 1, width - size + 1], device=images.device)
    corner = (torch.rand(count, 2, generator=generator, device=images.device) * room).long().minimum(room - 1)
    along = torch.arange(size, device=images.device)
    rows, columns = corner[:, :1] + along, corner[:, 1:] + along  # each (B, size)
    sample = torch.arange(count, device=images.device)[:, None, None]
    return images.movedim(1, -1)[sample, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()


def reduce(images: Tensor, size: int) -> Tensor:
    """Images at a lower resolution: each pixel is the mean of a block.

    Args:
        images: Shape (B, C, H, W), floating-point, H = W.
        size: Height and width in pixels, which divides H.
    Returns:
        Shape (B, C, size, size).
    Raises:
        ValueError: if they are no square images, or blocks do not fill them.
    """
    shape = tuple(images.shape[1:])
    if len(shape) != 3 or shape[1] != shape[2] or size < 1 or shape[1] % size or shape[1] == size:
        raise ValueError(
            f"samples of shape {shape} cannot be reduced to {size}x{size}: that takes square images, (channels, "
            f"height, width), whose height is 2, 3, ... times {size}"
        )
    return functional.avg_pool2d(images, shape[1] // size)


def fitted(image: Image.Image, size: int, channels: int = 3) -> Tensor:
    """The middle square of a picture, at ``size`` pixels a side.

    That is its shorter side brought to ``size`` and the longer one cropped evenly. Pillow's bicubic filter, whose
    support grows with the reduction (antialiased). The picture is first turned upright as its camera says; what is
    transparent becomes white.

    Args:
        image: Any picture that Pillow opens; not yet decoded if it is to be fast.
        size: Pixels a side.
        channels: 3 for red, green and blue; 1 for grey.
    Returns:
        Shape (channels, size, size), uint8.
    """
    mode = "RGB" if channels == 3 else "L"
    image.draft(mode, (2 * size, 2 * size))  # a JPEG decodes faster at a half, a quarter or an eighth of its size
    image = _plain(ImageOps.exif_transpose(image), mode)
    side = min(image.size)
    if image.size != (size, size):
        left, top = (image.width - side) / 2, (image.height - side) / 2
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    pixels = torch.from_numpy(numpy.array(image))
    return pixels.reshape(size, size, channels).permute(2, 0, 1).contiguous()


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """In RGB or grey, whatever it came in; ValueError if that would make it black."""
    if image.mode == "F" and 0 < image.getextrema()[1] <= 1:
        raise ValueError("its pixels are floating-point numbers up to 1, and those of pictures go up to 255")
    if image.mode.startswith("I;16") or image.mode == "I":  # 16 bits per pixel, which convert() would clip
        deep = numpy.asarray(image).astype(numpy.int64)
        image = Image.fromarray((deep.clip(0, 65535) // 257).astype(numpy.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert(mode)


def check_size(size: int) -> int:
    """ValueError unless it is a number of pixels."""
    if size < 1:
        raise ValueError(f"size is a number of pixels, at least 1, not {size}")
    return size
