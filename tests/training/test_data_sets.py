"""Runs on images kept as bytes, in memory and streamed: the same to the bit."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from stored_data import write_images

import flowguide as fg
from flowguide.evaluation import judge_for
from flowguide.training import train

CLASSIFIER = {
    "network": {"name": "convnet", "width": 4},
    "objective": {"name": "classification"},
    "training": {"steps": 3, "batch_size": 8},
    "seed": 0,
}


def glyphs(stream: bool) -> dict[str, object]:
    return {"name": "glyphs", "size": 8, "letters": "ABC", "count": 40, "test_count": 20, "stream": stream}


def test_streamed_and_in_memory_train_alike(tmp_path: Path) -> None:
    runs = [
        train({**CLASSIFIER, "data": glyphs(stream), "device": "cpu"}, tmp_path / str(stream), show=False)
        for stream in (False, True)
    ]
    held, streamed = (run.state_dict() for run in runs)
    assert all(torch.equal(held[name], streamed[name]) for name in held)


def test_streamed_and_in_memory_are_judged_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWGUIDE_CACHE", str(tmp_path))
    held, streamed = (judge_for(glyphs(stream), CLASSIFIER, "cpu", show=False) for stream in (False, True))
    assert held.accuracy == streamed.accuracy
    for split in ("train", "test"):
        ours, theirs = getattr(held, split), getattr(streamed, split)
        assert torch.equal(ours.features, theirs.features)
        assert torch.equal(ours.logits, theirs.logits)
        assert torch.equal(ours.labels, theirs.labels)
        assert torch.equal(ours.labels, fg.data.registry.build_from(glyphs(True), split=split).labels)


def test_a_run_goes_on_with_the_data_that_it_began_with(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    node, run = {"name": "image_folder", **write_images(tmp_path / "pictures", each=6)}, tmp_path / "run"
    settings = {**CLASSIFIER, "data": node, "device": "cpu"}
    train(settings, run, show=False)
    before = yaml.safe_load((run / "config.yaml").read_text())
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    settings["data"] = {**node, "folder": str(tmp_path / "elsewhere")}
    train(settings, run, show=False)  # they may be somewhere else
    for name in ("new", "newer"):
        shutil.copy(tmp_path / "elsewhere/cat/000.png", tmp_path / f"elsewhere/ant/{name}.png")
    with pytest.raises(ValueError, match=r"holds a run with samples=9, sha256 \w+, not 10, .*--allow"):
        train(settings, run, show=False)
    train({**settings, "allow": True}, run, show=False)
    (run / "config.yaml").write_text(yaml.safe_dump({**before, "samples": None}))  # as an older flowguide wrote it
    train(settings, run, show=False)
