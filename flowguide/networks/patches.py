r"""Images as sequences of patches, and back.

.. math:: (B, C, R p, S p) \leftrightarrow (B, R S, p^2 C)

row by row of patches. On the way in, the numbers of a patch are ordered as the weights of a convolution are, channel by
channel; on the way out pixel by pixel, with the channels innermost.

Source: Dosovitskiy et al. (2020), arXiv 2010.11929; in these orders, Peebles & Xie (2022), arXiv 2212.09748.
"""

from torch import Tensor


class Patches:
    """How a network cuts images, whatever their size.

    Args:
        owner: Whose images they are, for messages: "dit".
        channels: Of the images.
        size: p, height and width of a patch.
    """

    def __init__(self, owner: str, channels: int, size: int) -> None:
        self.owner = owner
        self.channels = channels
        self.size = size

    def grid(self, x: Tensor) -> tuple[int, int]:
        """Rows and columns of patches in ``x`` (B, C, H, W); ValueError if those are no images that can be cut so."""
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(
                f"this {self.owner} takes images of shape (B, {self.channels}, H, W), not {tuple(x.shape)}"
            )
        height, width = x.shape[2:]
        if height % self.size or width % self.size or not height or not width:
            nearest = tuple(max(round(side / self.size), 1) * self.size for side in (height, width))
            raise ValueError(
                f"this {self.owner} cuts its images into patches of {self.size}x{self.size}, so height and width must "
                f"be multiples of {self.size}, not {(height, width)}; the nearest is {nearest}"
            )
        return height // self.size, width // self.size

    def cut(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W), C as many channels as there are, to patches (B, N, C * p * p)."""
        rows, columns = (side // self.size for side in x.shape[2:])
        split = x.reshape(*x.shape[:2], rows, self.size, columns, self.size)
        return split.permute(0, 2, 4, 1, 3, 5).reshape(len(x), rows * columns, -1)

    def join(self, patches: Tensor, rows: int, columns: int) -> Tensor:
        """Patches (B, N, p * p * C) to images (B, C, H, W), C as many channels as there are."""
        split = patches.reshape(len(patches), rows, columns, self.size, self.size, -1)
        return split.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), -1, rows * self.size, columns * self.size)
