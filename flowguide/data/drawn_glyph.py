"""One glyph at a time: its outline, turned, scaled and filled with exact coverage of each pixel."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor

from .fonts import outline

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import RendererAgg


@dataclass(frozen=True)
class Drawing:
    """Draws glyphs, one at a time; rows of its arrays say how, in any process alike.

    Attributes:
        size: Pixels a side.
        channels: 1 or 3.
        characters, files: What the numbers in ``character`` and ``face`` stand for.
        character, face: Shape (N,).
        ink, ground: Colours of the glyph and its background, shape (N, channels), uint8.
        height: Of a capital, as a share of the side, shape (N,).
        shift: To the right and upwards, as a share of the room there is, shape (N, 2), in [-1, 1].
        angle: Anticlockwise, in radians, shape (N,).
    """

    size: int
    channels: int
    characters: tuple[str, ...]
    files: tuple[str, ...]
    character: numpy.ndarray
    face: numpy.ndarray
    ink: numpy.ndarray
    ground: numpy.ndarray
    height: numpy.ndarray
    shift: numpy.ndarray
    angle: numpy.ndarray

    def __call__(self, number: int) -> Tensor:
        """Glyph ``number``, shape (channels, size, size), uint8."""
        cover = self.cover(number).astype(numpy.int32)[:, :, None]
        ink, ground = self.ink[number].astype(numpy.int32), self.ground[number].astype(numpy.int32)
        pixels = ((255 - cover) * ground + cover * ink + 127) // 255
        return torch.from_numpy(pixels.astype(numpy.uint8).transpose(2, 0, 1).copy())

    def cover(self, number: int) -> numpy.ndarray:
        """How much of each pixel the glyph covers, shape (size, size), uint8: 255 is all of it."""
        from matplotlib.transforms import Affine2D

        shape, points = outline(self.files[self.face[number]], self.characters[self.character[number]])
        cosine, sine = numpy.cos(self.angle[number]), numpy.sin(self.angle[number])
        turned = points @ numpy.array([[cosine, sine], [-sine, cosine]])
        low, high = turned.min(0), turned.max(0)
        inside = self.size - 2 * min(max(1, self.size / 32), self.size / 4)  # a margin all round stays free
        zoom = min(self.size * self.height[number], inside / (high - low).max())
        room = (inside - zoom * (high - low)) / 2
        x, y = self.size / 2 - zoom * (low + high) / 2 + room * self.shift[number]
        canvas, pen = _canvas(self.size)
        canvas.clear()
        canvas.draw_path(
            pen, shape, Affine2D.from_values(zoom * cosine, zoom * sine, -zoom * sine, zoom * cosine, x, y), (1, 1, 1)
        )
        return numpy.asarray(canvas.buffer_rgba())[:, :, 3]


@lru_cache(maxsize=1)
def _canvas(size: int) -> "tuple[RendererAgg, object]":
    """A canvas and a pen that fills shapes exactly where they are, without moving them to whole pixels."""
    from matplotlib.backends.backend_agg import RendererAgg

    canvas = RendererAgg(size, size, 72)
    pen = canvas.new_gc()
    pen.set_linewidth(0)
    pen.set_snap(False)
    return canvas, pen
