"""The U-Net and its encoder: what trained checkpoints rely on, and every option of ADM."""

import hashlib

import pytest
import torch
from torch import nn

import flowguide as fg

RECIPE = {"channels": 1, "num_classes": 10, "width": 32, "multipliers": [1, 2], "blocks": 1, "attention": [1]}


def filled(network: nn.Module, std: float = 0.1) -> nn.Module:
    """With random numbers in the parameters that start at zero."""
    g = torch.Generator().manual_seed(0)
    for p in network.parameters():
        if not p.any():
            nn.init.normal_(p, std=std, generator=g)
    return network


@pytest.mark.parametrize(
    ("name", "more", "names", "weights", "outputs"),
    [
        ("unet", {}, "abf7a74ebc6fca06", 18823.1614, [0.84063, -2.28315, 0.90825, -0.75234]),
        ("unet_encoder", {"size": [8, 8]}, "a8208465547f2dcf", 9831.7894, [-0.21401, -0.10557, -0.21407, -0.11157]),
    ],
)
def test_the_networks_of_the_recipes_stay_what_they_are(
    name: str, more: dict, names: str, weights: float, outputs: list[float]
) -> None:
    """Names, shapes, initial weights and outputs: those that the checkpoints of the first release have."""
    torch.manual_seed(0)
    network = fg.networks.build(name, **RECIPE, **more)
    listed = "\n".join(f"{key} {tuple(value.shape)}" for key, value in network.state_dict().items())
    assert hashlib.sha256(listed.encode()).hexdigest()[:16] == names
    assert sum(p.abs().sum().item() for p in network.parameters()) == pytest.approx(weights, abs=1e-3)
    x, t = torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8), torch.tensor([0.3, 0.8])
    labels = [torch.tensor([3, 10])] if name == "unet" else []
    found = filled(network)(x, t, *labels).flatten()
    torch.testing.assert_close(found[:: 37 if name == "unet" else 5], torch.tensor(outputs), rtol=1e-4, atol=1e-4)
