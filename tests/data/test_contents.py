"""What tells a data set from another: a change of any sample, wherever the samples lie."""

import os
from pathlib import Path

import torch
from PIL import Image
from stored_data import write_images

import flowguide as fg
from flowguide.data import Dataset

COUNT = 1000  # more than are looked at


def test_any_number_of_a_set_in_memory() -> None:
    data = torch.randint(256, (COUNT, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(COUNT) % 2
    first = Dataset("a", data, labels, 2).contents
    assert Dataset("b", data.clone(), labels, 2).contents == first
    other = data.clone()
    other[501, 0, 2, 3] ^= 1
    swapped = labels.clone()
    swapped[501] ^= 1
    others = [Dataset("a", other, labels, 2), Dataset("a", data, swapped, 2), Dataset("a", data[:-1], labels[:-1], 2)]
    for each in others:
        assert each.contents != first


def test_any_picture_of_a_folder_that_is_edited_in_place(tmp_path: Path) -> None:
    """Without being read, and whether it is reduced or not."""
    node = {"name": "image_folder", **write_images(tmp_path / "pictures", each=100), "stream": True}
    nodes = (node, {"name": "reduced", "of": node, "size": 4})

    def contents() -> list[list]:
        return [fg.data.registry.build_from(each, split="train").contents for each in nodes]

    first = contents()
    assert contents() == first
    reads = fg.data.registry.build_from(node, split="train").load
    file = reads.folder / reads.names[37].decode()
    before = file.stat()
    with Image.open(file) as image:
        edited = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    edited.save(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    for old, new in zip(first, contents(), strict=True):
        assert new[-1] != old[-1]
