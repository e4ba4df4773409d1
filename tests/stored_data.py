"""Files for the data sets that read files, made on the spot in the layouts that they expect."""

import gzip
import io
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

CLASSES = ("ant", "bee", "cat")


def pixels(count: int, *shape: int, seed: int = 0) -> numpy.ndarray:
    return numpy.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=numpy.uint8)


def write_images(folder: Path, each: int = 90, size: int = 12) -> dict[str, Any]:
    """A sub-folder for each class."""
    images = iter(pixels(each * len(CLASSES), size, size, 3))
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            Image.fromarray(next(images)).save(folder / name / f"{number:03}.png")
    return {"folder": str(folder), "size": 8, "test_share": 0.5}


def write_cifar10(folder: Path, each: int = 30, form: str = "bin") -> dict[str, Any]:
    """Five files to train on and one to test with, packed as an archive ("bin", "py") or not ("bin/", "py/")."""
    form, unpacked = form.rstrip("/"), form.endswith("/")
    folder.mkdir(parents=True, exist_ok=True)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    files = {}
    for number, name in enumerate(names):
        count = each if number < 5 else 5 * each
        rows, labels = pixels(count, 3072, seed=number), numpy.arange(count, dtype=numpy.uint8) % 10
        if form == "bin":
            files[f"{name}.bin"] = numpy.concatenate([labels[:, None], rows], axis=1).tobytes()
        else:
            files[name] = python_2_pickle(rows, labels)
    inside = f"cifar-10-batches-{form}"
    if unpacked:
        (folder / inside).mkdir()
        for name, content in files.items():
            (folder / inside / name).write_bytes(content)
    else:
        with tarfile.open(folder / f"cifar-10-{'binary' if form == 'bin' else 'python'}.tar.gz", "w:gz") as packed:
            for name, content in files.items():
                member = tarfile.TarInfo(f"{inside}/{name}")
                member.size = len(content)
                packed.addfile(member, io.BytesIO(content))
    return {"folder": str(folder), "verify": False}


def python_2_pickle(rows: numpy.ndarray, labels: numpy.ndarray) -> bytes:
    """A batch of CIFAR-10 as Python 2 pickled it: a dictionary of byte strings, a list and an array."""

    def string(content: bytes) -> bytes:
        return b"U" + bytes([len(content)]) + content

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    dtype = b"cnumpy\ndtype\n" + string(b"u1") + number(0) + number(1) + b"\x87R("
    dtype += number(3) + string(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    content = rows.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + string(b"b") + b"\x87R("
    array += number(1) + number(rows.shape[0]) + number(rows.shape[1]) + b"\x86" + dtype + b"\x89"
    array += b"T" + struct.pack("<i", len(content)) + content + b"tb"
    listed = b"](" + b"".join(map(number, labels.tolist())) + b"e"
    entries = string(b"batch_label") + string(b"one") + string(b"labels") + listed + string(b"data") + array
    return b"\x80\x02}(" + entries + b"u."


def write_mnist(folder: Path, count: int = 120, packed: bool = True) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, part in enumerate(("train", "t10k")):
        images, labels = pixels(count, 28, 28, seed=seed), numpy.arange(count, dtype=numpy.uint8) % 10
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
            name = f"{part}-{kind}-ubyte"
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
    return {"folder": str(folder), "verify": False}


def write_array(folder: Path, count: int = 400) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "mine.npz"
    numpy.savez(file, data=pixels(count, 3, 8, 8), labels=numpy.arange(count) % 4)
    return {"file": str(file), "test_share": 0.5}


def write_hf(folder: Path, count: int = 240) -> dict[str, Any]:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES)), "text": datasets.Value("string")}
    )
    encoded = []
    for image in pixels(count, 12, 12, 3):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        encoded.append({"bytes": file.getvalue(), "path": None})
    labels = [number % len(CLASSES) for number in range(count)]
    table = {"image": encoded, "label": labels, "text": [f"number {number}" for number in range(count)]}
    datasets.Dataset.from_dict(table, features=features).save_to_disk(str(folder))
    return {"path": str(folder), "size": 8, "test_share": 0.5}


def write_latents(folder: Path) -> dict[str, Any]:
    from encoded import DATA, encoded

    encoded(folder, data={**DATA, "count": 150, "test_count": 120})
    return {"folder": str(folder / "latents")}


def write_reduced(folder: Path) -> dict[str, Any]:
    return {"of": {"name": "image_folder", **write_images(folder)}, "size": 4}


# Set -> what writes its files into a folder and says with which options they are read.
WRITERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "image_folder": write_images,
    "cifar10": write_cifar10,
    "mnist": write_mnist,
    "array": write_array,
    "hf": write_hf,
    "latents": write_latents,
    "reduced": write_reduced,
}
