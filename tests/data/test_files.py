"""Data sets that are read from files: folders of pictures, CIFAR-10, MNIST, arrays; what is wrong with them is said."""

import gzip
import hashlib
import logging
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from stored_data import CLASSES, pixels, write_array, write_cifar10, write_images, write_mnist

import flowguide as fg
from flowguide.data import cifar10, mnist
from flowguide.data.files import held_out


def refused(name: str, message: str, split: str = "train", **options) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        fg.data.build(name, split=split, **options)


# Folders of pictures


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    options = {**write_images(tmp_path / "mine"), "size": 12}
    (tmp_path / "mine/ant/.hidden.png").write_text("no picture")
    (tmp_path / "mine/ant/notes.txt").write_text("no picture")
    (tmp_path / "mine/.cache").mkdir()
    train, test = (fg.data.build("image_folder", split=split, flip=True, **options) for split in ("train", "test"))
    assert train.classes == test.classes == CLASSES
    assert train.flip
    assert train.data.dtype == torch.uint8
    assert torch.bincount(train.labels).tolist() == torch.bincount(test.labels).tolist() == [45] * 3
    # Together they are what was written, in the right classes.
    written = {image.transpose(2, 0, 1).tobytes(): n // 90 for n, image in enumerate(pixels(270, 12, 12, 3))}
    for part in (train, test):
        for image, label in zip(part.data, part.labels.tolist(), strict=True):
            assert written.pop(image.numpy().tobytes()) == label
    assert not written
    # A new file beside them moves none of the others from one side to the other by its mere presence.
    Image.new("RGB", (12, 12), "red").save(tmp_path / "mine/cat/a_new_one.png")
    again = fg.data.build("image_folder", split="test", **options)
    before, after = ({image.numpy().tobytes() for image in part.data} for part in (test, again))
    assert len(before - after) <= 1


def test_folders_for_training_and_testing(tmp_path: Path) -> None:
    write_images(tmp_path / "mine/train", each=6)
    write_images(tmp_path / "mine/val", each=4)
    shutil.rmtree(tmp_path / "mine/val/bee")
    (tmp_path / "mine/train/cat/deeper").mkdir()
    (tmp_path / "mine/train/cat/000.png").rename(tmp_path / "mine/train/cat/deeper/000.PNG")
    options = {"folder": str(tmp_path / "mine"), "size": 6}
    train, test = (fg.data.build("image_folder", split=split, **options) for split in ("train", "test"))
    assert torch.bincount(train.labels).tolist() == [6, 6, 6]
    assert torch.bincount(test.labels).tolist() == [4, 0, 4]
    (tmp_path / "mine/val/dog").mkdir()
    refused("image_folder", "has a class 'dog' that the folder to train on has not", split="test", **options)


def test_a_folder_for_training_alone_holds_the_classes(tmp_path: Path) -> None:
    write_images(tmp_path / "mine/train", each=6)
    parts = [fg.data.build("image_folder", split=split, folder=str(tmp_path / "mine")) for split in ("train", "test")]
    assert [part.classes for part in parts] == [CLASSES] * 2
    assert [torch.bincount(part.labels).tolist() for part in parts] == [[5, 5, 5], [1, 1, 1]]


def test_links_lead_to_pictures_and_not_in_circles(tmp_path: Path) -> None:
    options = {**write_images(tmp_path / "mine", each=2), "test_share": 0.0}
    write_images(tmp_path / "elsewhere", each=3)
    (tmp_path / "mine/cat/more").symlink_to(tmp_path / "elsewhere/cat")
    (tmp_path / "mine/cat/round").symlink_to(tmp_path / "mine")
    (tmp_path / "elsewhere/cat/back").symlink_to(tmp_path / "mine/cat")
    counts = torch.bincount(fg.data.build("image_folder", **options).labels).tolist()
    assert counts == [2, 2, 2 + 3 + 4]  # what is round holds the other two classes as well


def test_names_that_are_no_text(tmp_path: Path) -> None:
    options = {**write_images(tmp_path / "mine", each=2), "test_share": 0.0}
    os.rename(tmp_path / "mine/cat/000.png", os.path.join(os.fsencode(tmp_path / "mine/cat"), b"\xff.png"))
    for stream in (False, True):
        dataset = fg.data.build("image_folder", stream=stream, **options)
        assert (len(dataset.samples), len(dataset), dataset.contents[0]) == (6, 6, 6)


def test_pictures_of_fractions_are_not_taken_for_black_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = {**write_images(tmp_path / "mine", each=2), "test_share": 0.0}
    Image.fromarray(numpy.full((8, 8), 0.5, numpy.float32)).save(tmp_path / "mine/cat/half.tif")
    Image.fromarray(numpy.full((8, 8), 127.0, numpy.float32)).save(tmp_path / "mine/cat/whole.tif")
    assert len(fg.data.build("image_folder", **options)) == 7
    assert "half.tif cannot be read (its pixels are floating-point numbers up to 1" in caplog.text


def test_captions_beside_pictures(tmp_path: Path) -> None:
    options = {**write_images(tmp_path, each=4), "captions": True}
    for file in tmp_path.rglob("*.png"):
        file.with_suffix(".txt").write_text(f"\ufeff{file.parent.name},\n number {file.stem}\n")  # as Windows begins
    parts = [fg.data.build("image_folder", split=split, **options) for split in ("train", "test")]
    captions = [caption for part in parts for caption in part.captions]
    assert len(set(captions)) == 4 * len(parts[0].classes)
    for part in parts:
        for caption, label in zip(part.captions, part.labels.tolist(), strict=True):
            assert caption.startswith(f"{part.classes[label]}, number 00")
    next(tmp_path.rglob("*.txt")).unlink()
    with pytest.raises(ValueError, match=r"has no caption beside it, .*\.txt"):
        [fg.data.build("image_folder", split=split, **options) for split in ("train", "test")]


@pytest.mark.parametrize("stream", [False, True])
def test_corrupt_pictures_are_named_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture, stream: bool) -> None:
    write_images(tmp_path / "train", each=5)
    write_images(tmp_path / "test", each=1)
    (tmp_path / "train/ant/001.png").write_text("no picture at all")
    whole = (tmp_path / "train/bee/002.png").read_bytes()
    (tmp_path / "train/bee/002.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "train/cat/003.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        dataset = fg.data.build("image_folder", folder=str(tmp_path), size=8, stream=stream)
        data, labels = dataset.batch(torch.arange(len(dataset)))
    assert len(dataset) == (15 if stream else 12)
    assert len(data) == len(labels) == len(dataset)
    for name in ("ant/001.png cannot be read (not an image)", "bee/002.png cannot be read (", "cat/003.png"):
        assert name in caplog.text
    assert ("(3 of 15 so far)" if stream else "left out (3 of 15)") in caplog.text


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = write_images(tmp_path / "pictures", each=2)
    folder = options["folder"]
    refused("image_folder", f"there is no folder {folder[:-1]}; did you mean {folder}?", folder=folder[:-1])
    refused("image_folder", "there is no folder /nowhere/at/all", folder="/nowhere/at/all")
    refused(
        "image_folder", "000.png is a file, and the data are looked for in a folder", folder=f"{folder}/ant/000.png"
    )
    refused("image_folder", "has no sub-folders: image_folder wants one for each class", folder=f"{folder}/ant")
    refused("image_folder", "size is a number of pixels, at least 1, not -4", folder=folder, size=-4)
    refused("image_folder", "test_share is a share of the samples, at least 0 and below 1", folder=folder, test_share=1)
    refused("image_folder", "'channels' of data set 'image_folder' must be one of 1, 3", folder=folder, channels=2)
    refused("image_folder", "must be a string, not None: give one, folder=...", folder=None)
    refused("image_folder", "needs the option 'folder'")
    refused("image_folder", "leaves none for the test split", split="test", folder=folder, test_share=0.0)
    (tmp_path / "pictures/dog").mkdir()
    refused("image_folder", "pictures/dog holds no pictures (.png, .jpg", folder=folder)
    (tmp_path / "empty").mkdir()
    refused("image_folder", "empty is empty", folder=str(tmp_path / "empty"))

    def closed(*_: object) -> None:
        raise PermissionError(13, "Permission denied", folder)

    (tmp_path / "pictures/dog").rmdir()
    monkeypatch.setattr(os, "scandir", closed)
    monkeypatch.setattr(Path, "iterdir", closed)
    refused("image_folder", "cannot be read: Permission denied", folder=folder)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="to the superuser nothing is closed")
def test_a_closed_folder_is_named(tmp_path: Path) -> None:
    options = write_images(tmp_path / "pictures", each=2)
    (tmp_path / "pictures/bee").chmod(0)
    try:
        refused("image_folder", "pictures/bee cannot be read: Permission denied", **options)
    finally:
        (tmp_path / "pictures/bee").chmod(0o755)


def test_a_share_of_each_class_is_held_out() -> None:
    labels = torch.tensor([0] * 10 + [1] * 2 + [2])
    chosen = held_out(torch.rand(13), labels, 0.2)
    assert torch.bincount(labels[chosen], minlength=3).tolist() == [2, 1, 0]
    assert held_out(torch.tensor([0.3, 0.1, 0.2, 0.4]), None, 0.5).tolist() == [False, True, True, False]
    assert not held_out(torch.rand(13), labels, 0.0).any()


# CIFAR-10


@pytest.mark.parametrize("form", ["bin", "bin/", "py", "py/"])
def test_cifar10_in_every_form(tmp_path: Path, form: str) -> None:
    options = write_cifar10(tmp_path / "cifar", each=12, form=form)
    train, test = (fg.data.build("cifar10", split=split, **options) for split in ("train", "test"))
    for part, files in ((train, [(seed, 12) for seed in range(5)]), (test, [(5, 60)])):
        rows = numpy.concatenate([pixels(count, 3072, seed=seed) for seed, count in files])
        assert torch.equal(part.data, torch.from_numpy(rows).reshape(-1, 3, 32, 32))
        assert part.labels.tolist() == [n % 10 for _, count in files for n in range(count)]
    assert (train.num_classes, train.flip) == (10, True)
    assert train.captions[0] == "a photo of an airplane"
    assert train.captions[3] == "a photo of a cat"
    if form.endswith("/"):  # the folder that was unpacked does too
        inside = {**options, "folder": str(tmp_path / "cifar" / f"cifar-10-batches-{form[:-1]}")}
        assert torch.equal(fg.data.build("cifar10", **inside).data, train.data)


@pytest.mark.parametrize("form", ["bin", "py/"])
def test_cifar10_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    folder = tmp_path / "cifar"
    write_cifar10(folder, each=10, form=form)
    refused("cifar10", "is not the file that was published (md5", folder=str(folder))
    files = [file for file in folder.rglob("*") if file.is_file()]
    for file in files:
        monkeypatch.setitem(cifar10.MD5, file.name, hashlib.md5(file.read_bytes()).hexdigest())
    assert len(fg.data.build("cifar10", folder=str(folder))) == 50
    file = next(file for file in files if "test" not in file.name)
    file.write_bytes(file.read_bytes()[:-900])
    refused("cifar10", f"{file} is not the file that was published", folder=str(folder))
    refused("cifar10", "get it again from https://www.cs.toronto.edu", folder=str(folder), verify=False)


def test_what_is_wrong_with_cifar10_is_said(tmp_path: Path) -> None:
    refused("cifar10", "CIFAR-10 is not in the folder", folder=str(tmp_path))
    refused("cifar10", "download cifar-10-binary.tar.gz", folder=str(tmp_path))
    write_cifar10(tmp_path, each=10, form="bin/")
    (tmp_path / "cifar-10-batches-bin/data_batch_3.bin").write_bytes(b"12345")
    refused("cifar10", "data_batch_3.bin is 5 bytes long", folder=str(tmp_path))
    (tmp_path / "cifar-10-batches-bin/data_batch_3.bin").write_bytes(bytes([77] * 3073))
    refused("cifar10", "data_batch_3.bin has a label 77, and those of CIFAR-10 are 0 to 9", folder=str(tmp_path))


class Trap:
    def __reduce__(self) -> tuple:
        return os.system, ("exit 1",)


def test_no_code_in_a_pickle_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, each=10, form="py/")
    (tmp_path / "cifar-10-batches-py/data_batch_1").write_bytes(pickle.dumps({b"data": Trap(), b"labels": [0]}))
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("code was run"))
    refused("cifar10", "which data do not need", folder=str(tmp_path), verify=False)
    rows = pixels(10, 3072)
    modern = pickle.dumps({b"data": rows, b"labels": list(range(10))}, protocol=2)  # as Python 3 writes it
    (tmp_path / "cifar-10-batches-py/data_batch_1").write_bytes(modern)
    found = fg.data.build("cifar10", folder=str(tmp_path), verify=False)
    assert torch.equal(found.data[:10].flatten(1), torch.from_numpy(rows))


# MNIST


@pytest.mark.parametrize(("packed", "place"), [(True, ""), (False, ""), (True, "MNIST/raw")])
def test_mnist(tmp_path: Path, packed: bool, place: str) -> None:
    write_mnist(tmp_path / place, count=20, packed=packed)
    for split, seed in (("train", 0), ("test", 1)):
        part = fg.data.build("mnist", split=split, folder=str(tmp_path), verify=False)
        assert torch.equal(part.data[:, 0], torch.from_numpy(pixels(20, 28, 28, seed=seed)))
        assert part.labels.tolist() == [number % 10 for number in range(20)]
        wide = fg.data.build("mnist", split=split, folder=str(tmp_path), verify=False, size=32)
        assert wide.shape == (1, 32, 32)
        assert torch.equal(wide.data[:, :, 2:-2, 2:-2], part.data)
        assert wide.data.int().sum() == part.data.int().sum()
    assert part.captions[7] == "a handwritten digit 7"


def test_mnist_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused("mnist", "there is no train-images-idx3-ubyte.gz; download train-images", folder=str(tmp_path))
    options = write_mnist(tmp_path, count=20)
    refused("mnist", "is not the file that was published (md5", folder=str(tmp_path))
    for file in tmp_path.iterdir():
        monkeypatch.setitem(mnist.MD5, file.name, hashlib.md5(file.read_bytes()).hexdigest())
    assert len(fg.data.build("mnist", folder=str(tmp_path))) == 20
    file = tmp_path / "train-labels-idx1-ubyte.gz"
    content = file.read_bytes()
    file.write_bytes(content[:-3])
    refused("mnist", "is damaged (", **options)
    for damaged in (gzip.decompress(content)[:-1], b"\0\0\x08\x02" + gzip.decompress(content)[4:], b""):
        file.write_bytes(gzip.compress(damaged))
        refused("mnist", "is not a file of MNIST, or was cut short", **options)
    file.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x02\1\1"))
    refused("mnist", "mnist (train) holds 20 samples, and its labels have shape (2,)", **options)


# Arrays


def test_arrays_of_both_kinds_of_file(tmp_path: Path) -> None:
    data, labels = torch.rand(40, 5), torch.arange(40) % 4
    numpy.savez(tmp_path / "mine.npz", x=data.double().numpy(), y=labels.int().numpy())
    save_file({"x": data, "y": labels}, tmp_path / "mine.safetensors")
    for name in ("mine.npz", "mine.safetensors"):
        options = {"file": str(tmp_path / name), "data_key": "x", "label_key": "y", "test_share": 0.2}
        train, test = (fg.data.build("array", split=split, **options) for split in ("train", "test"))
        assert (len(train), len(test), train.num_classes) == (32, 8, 4)
        rows = {tuple(row): label for row, label in zip(data.tolist(), labels.tolist(), strict=True)}
        for part in (train, test):
            for row, label in zip(part.data.tolist(), part.labels.tolist(), strict=True):
                assert rows.pop(tuple(row)) == label
        assert not rows
    unlabelled = fg.data.build("array", file=str(tmp_path / "mine.npz"), data_key="x", label_key=None)
    assert unlabelled.labels is None
    whole = {"file": str(tmp_path / "mine.npz"), "test_file": str(tmp_path / "mine.safetensors")}
    for split in ("train", "test"):
        part = fg.data.build("array", split=split, data_key="x", label_key="y", num_classes=6, **whole)
        assert torch.equal(part.data, data)
        assert part.num_classes == 6


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "uint64", "int8", "int16"])
def test_labels_of_any_integer_type(tmp_path: Path, kind: str) -> None:
    file, labels = tmp_path / "mine.npz", numpy.arange(6) % 3
    numpy.savez(file, data=numpy.zeros((6, 2)), labels=labels.astype(kind))
    found = fg.data.build("array", file=str(file), test_share=0.0)
    assert (found.labels.tolist(), found.num_classes) == (labels.tolist(), 3)


def test_images_in_arrays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = pixels(20, 6, 6, 3)
    file = tmp_path / "mine.npz"
    numpy.savez(file, data=images, labels=numpy.zeros(20, dtype=numpy.uint8))
    refused("array", "bytes are images, (N, channels, height, width), and 'data' of", file=str(file))
    refused("array", "is (20, 6, 6, 3); set channels_last=true", file=str(file))
    found = fg.data.build("array", file=str(file), channels_last=True, test_share=0.0, flip=True)
    assert torch.equal(found.data, torch.from_numpy(images).permute(0, 3, 1, 2))
    assert found.flip
    numpy.savez(file, data=images / 255.0, labels=numpy.zeros(20, dtype=numpy.int64))
    same = fg.data.build("array", file=str(file), channels_last=True, test_share=0.0, range=[0, 1])
    torch.testing.assert_close(same.data, found.samples)
    numpy.savez(file, data=images.transpose(0, 3, 1, 2).astype(numpy.float32), labels=numpy.zeros(20, numpy.int64))
    with caplog.at_level(logging.WARNING):
        fg.data.build("array", file=str(file))
    assert "values lie in [0, 255]; if these are images, range=[low, high] brings them to [-1, 1]" in caplog.text


def test_what_flowguide_samples_is_such_a_file(tmp_path: Path) -> None:
    tensors = {"data": torch.rand(30, 1, 4, 4), "labels": torch.arange(30) % 3}
    save_file(tensors, tmp_path / "cfg_w2.safetensors", {"config": "{}"})
    assert len(fg.data.build("array", file=str(tmp_path / "cfg_w2.safetensors"))) == 27


def test_what_is_wrong_with_an_array_is_said(tmp_path: Path) -> None:
    file = Path(write_array(tmp_path)["file"])

    def wrong(message: str, *, split: str = "train", options: dict | None = None, **arrays: numpy.ndarray) -> None:
        if arrays:
            numpy.savez(file, **{"data": numpy.zeros((4, 2)), "labels": numpy.zeros(4, numpy.int64), **arrays})
        refused("array", message, split=split, file=str(file), **(options or {}))

    wrong("holds no 'images' (but data, labels)", options={"data_key": "images"})
    wrong(
        "holds no 'classes' (but data, labels); label_key=null if there are no labels", options={"label_key": "classes"}
    )
    wrong("num_classes=4 needs labels, and label_key is null", options={"label_key": None, "num_classes": 4})
    wrong("num_classes must be at least 1, not 0", options={"num_classes": 0})
    wrong("the labels of array (train) must be numbers from 0 to 2, and one is 3", options={"num_classes": 3})
    wrong("range is for float data", options={"range": [0, 1]})
    broken = numpy.zeros((4, 2))
    broken[1, 1], broken[3, 0] = numpy.nan, numpy.inf
    wrong("2 of 4 samples in", data=broken)
    wrong("hold infinite or NaN numbers", data=broken)
    wrong("the labels in", labels=numpy.zeros(4))
    wrong("must be integers, not float64", labels=numpy.zeros(4))
    wrong("holds 4 samples, and labels of shape (3,)", labels=numpy.zeros(3, numpy.int64))
    wrong("must be numbers from 0, and one is -1", labels=numpy.full(4, -1))
    wrong("has shape (4,), not (N, *)", data=numpy.zeros(4))
    wrong("has shape (0, 2), not (N, *)", data=numpy.zeros((0, 2)), labels=numpy.zeros(0, numpy.int64))
    wrong("is int64; data are float, or images as bytes", data=numpy.zeros((4, 2), numpy.int64))
    wrong("channels_last is for images", data=numpy.zeros((4, 2)), options={"channels_last": True})
    wrong("range is [low, high], [0, 1] say, not [1.0, 0.0]", data=numpy.zeros((4, 2)), options={"range": [1, 0]})
    wrong("not [0.0, inf]", data=numpy.zeros((4, 2)), options={"range": [0, numpy.inf]})
    wrong("'labels' of", labels=numpy.array(["cat", "dog"] * 2))
    wrong("is text; data are float", labels=numpy.array(["cat", "dog"] * 2))
    wrong("is float128; data are float" if hasattr(numpy, "float128") else "mine", data=numpy.zeros((4, 2), "g"))
    large = numpy.array([0, 10**12] * 2)
    wrong("go up to 1000000000000, with 2 different ones in 4 samples: number the classes from 0 to 1", labels=large)
    wrong(
        "flip=true shows mirror images, and array (train) holds samples of shape (2,)",
        data=numpy.zeros((4, 2)),
        options={"flip": True},
    )
    wrong("holds Python objects and not plain arrays; they could run code", data=numpy.array([Trap()] * 4))
    for damage in (b"", b"no archive", b"PK\x03\x04 cut short"):
        file.write_bytes(damage)
        wrong("mine.npz")
    for name, message in (
        ("a.npy", "unknown kind of file '.npy'"),
        ("a.safetensors", "is damaged, or no file of arrays"),
    ):
        (tmp_path / name).write_bytes(b"no tensors")
        refused("array", message, file=str(tmp_path / name))
    refused("array", "is a folder, and the data are looked for in a file", file=str(tmp_path))
    refused("array", "there is no file", file=str(tmp_path / "absent.npz"))
    numpy.savez(file, data=numpy.zeros((4, 2)), labels=numpy.zeros(4, numpy.int64))
    numpy.savez(tmp_path / "two.npz", data=numpy.zeros((4, 3)), labels=numpy.zeros(4, numpy.int64))
    wrong("holds samples of shape (2,), and", split="test", options={"test_file": str(tmp_path / "two.npz")})
