"""What the tests of training share: a tiny run, and an interruption of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from flowguide.training import loop
from flowguide.training.averages import Averages


def recipe(**changes: Any) -> dict[str, Any]:
    """A tiny run: moons, an mlp, 40 steps."""
    settings = {
        "data": {"name": "moons", "count": 100},
        "path": {"name": "linear"},
        "network": {"name": "mlp", "width": 16, "depth": 1},
        "objective": {"name": "cfm"},
        "training": {"steps": 40, "batch_size": 32, "save_every": 10, "warmup": 5, "ema": 0.9},
        "device": "cpu",
    }
    for name, value in changes.items():
        group, _, option = name.partition("__")
        if option:
            settings[group] = {**settings[group], option: value}
        else:
            settings[group] = value
    return settings


def final(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(sorted((folder / "checkpoints").glob("*.safetensors"))[-1])


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """As if Ctrl-C had been pressed during a step."""

    class Pressed(loop.Interruption):
        taken = 0

        @property
        def requested(self) -> bool:
            return Pressed.taken >= step

        @requested.setter
        def requested(self, value: bool) -> None:
            pass

    def counting(self: Averages, number: int, update=Averages.update) -> None:
        Pressed.taken = number + 1
        update(self, number)

    monkeypatch.setattr(loop, "Interruption", Pressed)
    monkeypatch.setattr(Averages, "update", counting)
