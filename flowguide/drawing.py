"""Pictures: one style for all figures, and grids of images.

Figures are as wide as a column (3.3 inches) or a page (6.8 inches), in type that is still legible there, in colours
that colour-blind readers can tell apart (Okabe & Ito 2008; viridis and cividis for scales). Each is written as PNG and
PDF.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.3, 6.8  # inches

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
    "#000000",
)
COLOURS = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, BLACK, YELLOW)


def use_style() -> None:
    """Set matplotlib up for figures without a screen, in flowguide's style."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update(
        {
            "font.size": 8,
            "axes.titlesize": 8,
            "axes.labelsize": 8,
            "legend.fontsize": 7,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.6,
            "lines.linewidth": 1.2,
            "lines.markersize": 3.5,
            "legend.frameon": False,
            "savefig.dpi": 200,
            "savefig.bbox": "tight",
            "savefig.pad_inches": 0.03,
            "pdf.fonttype": 42,  # text stays text
            "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
        }
    )


def save(figure: "Figure", file: Path) -> list[Path]:
    """Write a figure beside ``file`` as PNG and PDF, close it, and return the two files."""
    import matplotlib.pyplot as plt

    file.parent.mkdir(parents=True, exist_ok=True)
    files = [file.with_suffix(suffix) for suffix in (".png", ".pdf")]
    for each in files:
        # Without a date the same figure is the same file.
        figure.savefig(each, metadata={"CreationDate": None} if each.suffix == ".pdf" else None)
    plt.close(figure)
    return files


def band(ax: "Axes", x: Sequence[float], mean: Sequence[float], spread: Sequence[float], **style: Any) -> None:
    """A line with markers, and the band of ``spread`` to each side of it."""
    (line,) = ax.plot(x, mean, marker="o", **style)
    low, high = ([m + sign * s for m, s in zip(mean, spread, strict=True)] for sign in (-1, 1))
    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.25, linewidth=0)


def tile(images: Tensor, columns: int, gap: int = 1) -> Tensor:
    """Images in [-1, 1], shape (N, C, H, W), as one picture in [0, 1], shape (H', W', C), row by row on white."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    picture = torch.ones(channels, rows * (height + gap) + gap, columns * (width + gap) + gap)
    for index, image in enumerate(images.cpu().float()):
        row, column = divmod(index, columns)
        top, left = row * (height + gap) + gap, column * (width + gap) + gap
        picture[:, top : top + height, left : left + width] = image.add(1).div(2).clamp(0, 1)
    return picture.permute(1, 2, 0)


def save_images(images: Tensor, file: Path, columns: int) -> Path:
    """Write a grid of images (N, C, H, W) as a PNG, small ones enlarged without smoothing."""
    from PIL import Image

    if images.shape[1] not in (1, 3):
        raise ValueError(f"a picture has 1 or 3 channels, not {images.shape[1]}")
    picture = tile(images, columns).mul(255).round().to(torch.uint8).numpy()
    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    scale = max(1, 64 // images.shape[-1])
    file.parent.mkdir(parents=True, exist_ok=True)
    image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST).save(file)
    return file


def save_points(points: Tensor, labels: Tensor | None, file: Path, title: str) -> Path:
    """Write a scatter plot of points (N, 2), coloured by label, as a PNG."""
    use_style()
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(COLUMN, COLUMN))
    colours = BLUE if labels is None else [COLOURS[label % len(COLOURS)] for label in labels.tolist()]
    axes.scatter(*points.cpu().T.numpy(), s=3, c=colours, linewidths=0)
    axes.set(aspect="equal", xlabel="$x_1$ (data units)", ylabel="$x_2$ (data units)", title=title)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    plt.close(figure)
    return file
