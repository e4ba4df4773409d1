"""What the options of a diffusion transformer come to: its published sizes, and which others make a network."""

from dataclasses import dataclass
from typing import Any, Literal

from .layers import check_positive

Size = Literal["S", "B", "L", "XL"]
Positions = Literal["sincos", "rope", "both"]

# Depth, width and heads as published, and of a small one to begin with.
SIZES: dict[Size | None, tuple[int, int, int]] = {
    None: (6, 192, 3),
    "S": (12, 384, 6),
    "B": (12, 768, 12),
    "L": (24, 1024, 16),
    "XL": (28, 1152, 16),
}
PATCHES = (1, 2, 4, 8)


@dataclass(frozen=True)
class DiTDesign:
    """Depth, width and heads of a dit.

    Raises:
        ValueError: if the options do not make a network.
    """

    depth: int
    width: int
    heads: int
    mlp_ratio: float
    positions: Positions
    registers: int

    @classmethod
    def of(cls, size: Size | None, depth: int | None, width: int | None, heads: int | None, **more: Any) -> "DiTDesign":
        """That of a published size, with what is not None in its place."""
        preset = dict(zip(("depth", "width", "heads"), SIZES[size], strict=True))
        given = {"depth": depth, "width": width, "heads": heads}
        return cls(**preset | {name: value for name, value in given.items() if value is not None}, **more)

    def __post_init__(self) -> None:
        width, heads = self.width, self.heads
        check_positive("a dit", {"depth": self.depth, "width": width, "heads": heads})
        if width % 4:
            nearest = max(4, 4 * round(width / 4))
            raise ValueError(f"a dit's width must be a multiple of 4, not {width}; the nearest is {nearest}")
        if width % heads:
            nearest = min((n for n in range(1, width + 1) if width % n == 0), key=lambda n: abs(n - heads))
            raise ValueError(
                f"heads must divide the width {width}, and {heads} does not; the nearest that does is {nearest}"
            )
        if self.positions != "sincos" and self.head_width % 4:
            nearest = min((n for n in range(1, width + 1) if width % (4 * n) == 0), key=lambda n: abs(n - heads))
            raise ValueError(
                f"positions={self.positions} needs heads whose width is a multiple of 4, not {self.head_width}; the "
                f"nearest number of heads is {nearest}"
            )
        if self.registers < 0:
            raise ValueError(f"registers is a number of tokens, at least 0, not {self.registers}")
        if self.hidden < 2:
            raise ValueError(f"mlp_ratio {self.mlp_ratio} leaves no perceptron at width {width}; published ones have 4")

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def hidden(self) -> int:
        """Width within the perceptrons."""
        return int(self.mlp_ratio * self.width)
