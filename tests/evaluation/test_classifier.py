"""The classifier that metrics use: kept by the data that it is of."""

import logging
from pathlib import Path

import numpy
import pytest

from flowguide.evaluation import judge_for

CLASSIFIER = {
    "network": {"name": "convnet", "width": 4},
    "objective": {"name": "classification"},
    "training": {"steps": 2, "batch_size": 8},
    "seed": 0,
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOWGUIDE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(file: Path, seed: int, classes: int = 3) -> None:
    """Noise, with labels."""
    data = numpy.random.default_rng(seed).uniform(-1, 1, (60, 1, 8, 8)).astype("float32")
    file.parent.mkdir(exist_ok=True)
    numpy.savez(file, data=data, labels=numpy.arange(60) % classes)


def judged(file: str) -> object:
    return judge_for({"name": "array", "file": file}, CLASSIFIER, "cpu", show=False)


def test_data_sets_of_one_name_have_classifiers_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In another folder, or in the same file on another day, and with other classes."""
    caplog.set_level(logging.INFO, "flowguide")
    of = {}
    for name, seed, classes in (("a", 0, 3), ("b", 1, 3), ("c", 2, 5)):
        write(tmp_path / name / "d.npz", seed, classes)
        monkeypatch.chdir(tmp_path / name)
        of[name] = judged("d.npz")
    assert "is trained already" not in caplog.text
    assert of["c"].test.logits.shape[1] == 5
    monkeypatch.chdir(tmp_path / "a")
    assert (judged("d.npz").train.features == of["a"].train.features).all()
    assert "is trained already" in caplog.text
    caplog.clear()
    write(tmp_path / "a" / "d.npz", 3)
    judged("d.npz")
    assert "is trained already" not in caplog.text
