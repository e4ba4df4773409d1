"""Published ADM files: their forward pass to the last digits, their architecture from their shapes, and refusals."""

from pathlib import Path

import published_adm
import pytest
import torch
from published_adm import Facts, State
from torch import Tensor

import flowguide as fg

# The published architectures at small width, and others of that code.
NETWORKS = {
    "64x64": Facts(32, (1, 2, 3, 4), 1, (1, 2, 3), head_width=16, order="new", classes=7),
    "unconditional": Facts(32, (1, 1, 2), 2, (1, 2), head_width=16),
    "half width first": Facts(64, (0.5, 1, 1), 1, (2,), head_width=32, classes=5),
    "upsampler": Facts(32, (1, 2), 2, (1,), heads=4, classes=7, inputs=6),
    "convolutions, additive": Facts(32, (1, 2), 1, (1,), heads=1, outputs=3, updown=False, scale_shift=False),
}
CLASSIFIERS = {
    pool: Facts(32, (1, 1, 2), 2, (1, 2), head_width=16, classes=6, pool=pool, size=16)
    for pool in ("attention", "adaptive", "spatial", "spatial_v2")
}
EVERY = {**NETWORKS, **CLASSIFIERS}


def write(folder: Path, state: State, name: str = "model.pt") -> Path:
    torch.save(state, folder / name)
    return folder / name


def given(facts: Facts) -> dict:
    """What must be said of a file, since its shapes are those of no published model."""
    heads = {"heads": facts.heads} if facts.heads else {"head_width": facts.head_width}
    return {**heads, "attention_order": facts.order, "size": [facts.size, facts.size]}


@torch.no_grad()
def ours_and_theirs(file: Path, state: State, facts: Facts) -> tuple[Tensor, Tensor]:
    """The output of the network within the imported model, and that of the independent statement."""
    model = fg.load_pretrained(file, format="adm", device="cpu", **given(facts))
    g = torch.Generator().manual_seed(1)
    x, steps = torch.randn(3, 3, facts.size, facts.size, generator=g), torch.tensor([0.0, 417.25, 999.0])
    if facts.pool:
        return model.network(x, steps), published_adm.forward(state, facts, x, steps)
    y = torch.arange(3) + 1 if facts.classes else None
    cond, beside = y, x
    if facts.inputs > 3:
        image = torch.randn(3, 3, facts.size // 4, facts.size // 4, generator=g)
        cond, beside = model.network.join(image, y), published_adm.with_image(x, image)
    return model.network(x, steps, cond), published_adm.forward(state, facts, beside, steps, y)[:, :3]


@pytest.mark.parametrize("name", EVERY)
def test_the_forward_pass_is_the_published_one(name: str, tmp_path: Path) -> None:
    facts = EVERY[name]
    state = published_adm.random_state(facts)
    ours, theirs = ours_and_theirs(write(tmp_path, state), state, facts)
    assert theirs.abs().mean() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
