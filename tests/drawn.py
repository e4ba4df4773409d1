"""What tests of scripts share: settings of a run of images that trains in no time, and a look at a figure."""

from pathlib import Path

from PIL import Image

SMALL = ["network.width=8", "network.head_width=8", "training.batch_size=16", "training.steps=2", "device=cpu"]


def is_drawn(file: Path, width: int = 600) -> bool:
    """Whether there is a picture with something dark in it, and a PDF beside it."""
    picture = Image.open(file.with_suffix(".png"))
    return picture.width > width and picture.convert("L").getextrema()[0] < 60 and file.with_suffix(".pdf").is_file()
