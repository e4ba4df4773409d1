"""Data sets through Hugging Face's datasets, where it is installed; and what is said where it is not."""

import io
import logging
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from stored_data import CLASSES, pixels, write_hf, write_images

import flowguide as fg


def test_without_it_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=re.escape("pip install 'flowguide[hf]'")):
        fg.data.build("hf", path="mine")


@pytest.fixture
def saved(tmp_path: Path) -> dict[str, object]:
    return {**write_hf(tmp_path / "saved", count=60), "size": 12}


def test_a_saved_set(saved: dict[str, object]) -> None:
    train, test = (fg.data.build("hf", split=split, caption="text", **saved) for split in ("train", "test"))
    assert train.classes == CLASSES
    assert len(train) == len(test) == 30
    written = pixels(60, 12, 12, 3)
    numbers = []
    for part in (train, test):
        for image, label, caption in zip(part.data, part.labels.tolist(), part.captions, strict=True):
            number = int(caption.removeprefix("number "))
            assert torch.equal(image, torch.from_numpy(written[number]).permute(2, 0, 1))
            assert label == number % 3
            numbers.append(number)
    assert sorted(numbers) == list(range(60))


def test_streamed_by_workers(saved: dict[str, object]) -> None:
    streamed = fg.data.build("hf", stream=True, **saved)
    whole = fg.data.build("hf", **saved)
    index = torch.tensor([29, 3, 3, 0])
    for workers in (0, 2):
        ((data, labels),) = fg.data.batches(streamed, lambda step: index, 0, 1, "cpu", workers)
        assert torch.equal(data, whole[index])
        assert torch.equal(labels, whole.labels[index])


def test_splits_and_labels_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    datasets = pytest.importorskip("datasets")
    encoded = []
    for image in pixels(12, 6, 6, 3):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        encoded.append({"bytes": file.getvalue(), "path": None})
    encoded[2] = {"bytes": b"no picture", "path": None}
    features = datasets.Features({"photo": datasets.Image(), "kind": datasets.Value("string")})
    table = {"photo": encoded, "kind": ["b", "a", "c"] * 4}
    rows = datasets.Dataset.from_dict(table, features=features)
    parts = datasets.DatasetDict({"train": rows, "validation": rows.select(range(6, 12))})
    parts.save_to_disk(str(tmp_path / "parts"))
    options = {"path": str(tmp_path / "parts"), "image": "photo", "label": "kind", "size": 6}
    with caplog.at_level(logging.WARNING):
        train, test = (fg.data.build("hf", split=split, **options) for split in ("train", "test"))
    assert train.classes == test.classes == ("a", "b", "c")
    assert (len(train), test.labels.tolist()) == (11, [1, 0, 2] * 2)
    assert "parts, row 2 cannot be read (not an image); left out (1 of 12)" in caplog.text
    for wrong, message in (
        ({"image": "foto"}, "unknown column of .* 'foto'; did you mean 'photo'?"),
        ({"label": "sort"}, "unknown column of .* 'sort'.*; label=null if there are none"),
        ({"image": "kind"}, "the column 'kind' of .* holds no pictures, but string"),
        ({"label": "photo"}, "the column 'photo' holds no labels"),
        ({"train_split": "trian"}, "unknown split of .* 'trian'; did you mean 'train'?"),
        ({"test_split": "tests"}, "unknown split of .* 'tests'"),
        ({"path": str(tmp_path / "absent")}, "Hugging Face's datasets cannot load '.*absent'"),
    ):
        with pytest.raises(ValueError, match=message):
            fg.data.build("hf", **{**options, **wrong})


def test_a_folder_of_pictures_as_the_hub_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write_images(tmp_path / "mine", each=6)
    found = fg.data.build("hf", path=str(tmp_path / "mine"), size=12, test_share=0.0)
    assert found.classes == CLASSES
    images = {image.transpose(2, 0, 1).tobytes() for image in pixels(18, 12, 12, 3)}
    assert {image.numpy().tobytes() for image in found.data} == images
    assert found.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
