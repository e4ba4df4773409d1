"""What the tests of cascades share: tiny runs that chain, whatever their stages are told."""

from pathlib import Path
from typing import Any

import torch

import flowguide as fg
from flowguide import training

UNET = {"name": "unet", "width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [], "head_width": 8}
DIT = {"name": "dit", "patch": 4, "depth": 1, "width": 16, "heads": 2}
GLYPHS = {"name": "glyphs", "size": 16, "count": 16, "test_count": 16, "letters": "ABC", "colours": False}
TRAINING = {"steps": 2, "batch_size": 4, "save_every": 2, "warmup": 1}


def recipe(**changes: Any) -> dict[str, Any]:
    settings = {"data": GLYPHS, "path": {"name": "linear"}, "network": UNET, "objective": {"name": "cfm"}}
    return {**settings, "training": TRAINING, "device": "cpu", **changes}


def reduced(size: int = 8, **more: Any) -> dict[str, Any]:
    return {"name": "reduced", "size": size, "of": {**GLYPHS, **more}}


def super_resolution(size: int = 8, **more: Any) -> dict[str, Any]:
    return {"name": "low_resolution", "size": size, **more}


WORDS = {"name": "text", "encoder": "words"}
RECIPES = {
    "base": recipe(data=reduced()),
    "sr": recipe(conditioner=super_resolution()),
    "sr4": recipe(conditioner=super_resolution(4)),
    "clean": recipe(conditioner=super_resolution(augmentation=None)),
    "dit": recipe(conditioner=super_resolution(), network=DIT),
    "never": recipe(conditioner=super_resolution(), objective={"name": "cfm", "label_dropout": 1.0}),
    "always": recipe(conditioner=super_resolution(), objective={"name": "cfm", "label_dropout": 0.0}),
    "four": recipe(data={**GLYPHS, "letters": "ABCD"}, conditioner=super_resolution()),
    "untold": recipe(data=reduced(), objective={"name": "cfm", "label_dropout": 1.0}),
    "told": recipe(data=reduced(), conditioner=WORDS),
    "told_sr": recipe(conditioner=super_resolution(beside=WORDS)),
    "tokens": recipe(conditioner=super_resolution(beside={**WORDS, "tokens": True, "max_length": 9}), network=DIT),
    "attributes": recipe(conditioner=super_resolution(beside={"name": "attributes", "names": ["character", "weight"]})),
}


def trained(folder: Path, name: str) -> str:
    """The run of a recipe, in a folder of runs, where it is trained if it is not there yet; it does something."""
    if not (folder / name).exists():
        training.train(RECIPES[name], folder / name, show=False)
        model = fg.load(folder / name, device="cpu")  # much of which is next to zero
        for parameter in model.network.parameters():
            if parameter.abs().max() < 0.01:
                torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
        for parameter in model.network.leave.parameters():
            torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(0))
        tensors = {f"ema.{key}": value for key, value in model.state_dict().items()}
        meta = {"step": 2, "config": model.config.settings()}
        training.checkpoint.write(folder / name / "checkpoints" / "step-00000002.safetensors", tensors, meta)
    return str(folder / name)
