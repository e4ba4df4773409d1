"""Runs on images kept as bytes, in memory and streamed: the same to the bit."""

from pathlib import Path

import pytest
import torch

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
