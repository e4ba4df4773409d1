"""Published DiT and SiT files: their forward pass to the last digits, what their shapes tell, guidance, refusals."""

from argparse import Namespace
from pathlib import Path

import published_dit
import pytest
import torch
from published_dit import Facts, State
from torch import Tensor

import flowguide as fg

FACTS = Facts()
EVERY = {
    "like the published": FACTS,
    "without variance": Facts(variance=False, patch=1, depth=1),
    "large patches": Facts(patch=4, channels=3, side=2, heads=2),
    "no null label": Facts(null=False, ratio=3.29),
}


def write(folder: Path, state: State, name: str = "model.pt") -> Path:
    torch.save(state, folder / name)
    return folder / name


def inputs(facts: Facts) -> tuple[Tensor, Tensor]:
    """States and labels, a null one among them if there is one."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(3, facts.channels, facts.pixels, facts.pixels, generator=g)
    return x, torch.tensor([0, facts.classes - 1, facts.classes - 1 + facts.null])


@torch.no_grad()
@pytest.mark.parametrize("format", ["dit", "sit"])
@pytest.mark.parametrize("name", EVERY)
def test_the_forward_pass_is_the_published_one(name: str, format: str, tmp_path: Path) -> None:
    facts = EVERY[name]
    state = published_dit.random_file(facts)
    told = {"heads": facts.heads, "null_label": facts.null}
    field = fg.load_pretrained(write(tmp_path, state), format=format, device="cpu", **told)
    assert field.shape == (facts.channels, facts.pixels, facts.pixels)
    assert field.num_classes == facts.classes
    x, y = inputs(facts)
    t = torch.tensor([0.0, 417.25, 999.0]) if format == "dit" else torch.tensor([0.02, 0.5, 0.97])
    expected = published_dit.forward(state, facts, x, t, y)
    assert expected.abs().mean() > 0.1
    torch.testing.assert_close(field.network.all_outputs(x, t, y), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(field.network(x, t, y), field.network.all_outputs(x, t, y)[:, : facts.channels])


@pytest.mark.parametrize(
    ("size", "patch", "side"), [("XL", 2, 16), ("XL", 2, 32), ("L", 4, 8), ("B", 8, 4), ("S", 2, 16)]
)
def test_published_files_are_known_by_their_shapes(size: str, patch: int, side: int) -> None:
    depth, width, heads = fg.networks.dit_design.SIZES[size]
    facts = Facts(width, depth, heads, patch, 4, side, 1000)
    state = published_dit.random_file(facts, device="meta")
    for format in ("dit", "sit"):
        imported = fg.pretrained.build(format, state)
        assert imported.shape == (4, facts.pixels, facts.pixels)
        preset = fg.networks.registry.get("dit").presets[f"{size}/{patch}"]
        assert {**imported.network, **preset} == imported.network
        numbers = sum(tensor.numel() for tensor in imported.tensors.values())
        assert numbers == sum(tensor.numel() for tensor in state.values()) - side**2 * width
    with torch.device("meta"):
        assert fg.networks.registry.build_from(imported.network).design.heads == heads


def test_a_dit_is_told_timesteps_and_guided(tmp_path: Path) -> None:
    state = published_dit.random_file(FACTS)
    field = fg.load_pretrained(write(tmp_path, state), format="dit", heads=3, device="cpu")
    assert field.path == fg.paths.build("ddpm", schedule="linear")
    x, y = inputs(FACTS)
    n, null = torch.tensor([12.0, 300.0, 700.0]), torch.full((3,), 5)
    noise, unguided = (published_dit.forward(state, FACTS, x, n, each)[:, :4] for each in (y, null))
    t = field.path.time_of_timestep(n)
    torch.testing.assert_close(field(x, t, y).noise, noise, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(field(x, t).noise, unguided, rtol=1e-3, atol=1e-3)
    rule = fg.guidance.build("cfg", field, w=3.0)
    torch.testing.assert_close(rule(x, t, y).noise, unguided + 3 * (noise - unguided), rtol=1e-3, atol=1e-2)
    samples = fg.sample(rule, (2, *field.shape), torch.tensor([0, 4]), fg.solvers.build("ddim", steps=3))
    assert samples.isfinite().all()


@pytest.mark.parametrize("path", ["linear", "cosine", "vp"])
@pytest.mark.parametrize("predicts", ["velocity", "score", "noise"])
def test_a_sit_is_told_time_itself_and_guided(path: str, predicts: str, tmp_path: Path) -> None:
    state = published_dit.random_file(FACTS)
    options = {} if (path, predicts) == ("linear", "velocity") else {"path": path, "predicts": predicts}
    field = fg.load_pretrained(write(tmp_path, state), format="sit", heads=3, device="cpu", **options)
    assert field.path == fg.paths.build(path)
    x, y = inputs(FACTS)
    t = torch.tensor([0.1, 0.5, 0.9])
    expected = published_dit.forward(state, FACTS, x, t, y)[:, :4]
    torch.testing.assert_close(getattr(field(x, t, y), predicts), expected, rtol=1e-5, atol=1e-5)
    rule = fg.guidance.build("cfg", field, w=1.5)
    samples = fg.sample(rule, (2, *field.shape), torch.tensor([0, 4]), fg.solvers.build("heun", steps=3))
    assert samples.isfinite().all()


def test_without_a_null_label_cfg_refuses(tmp_path: Path) -> None:
    file = write(tmp_path, published_dit.random_file(Facts(null=False)))
    field = fg.load_pretrained(file, format="dit", heads=3, null_label=False, device="cpu")
    assert field.null(2) is None
    assert fg.sample(field, (1, *field.shape), torch.tensor([4]), fg.solvers.build("ddim", steps=2)).isfinite().all()
    with pytest.raises(ValueError, match=r"label 5 is not one of the 5 classes 0 to 4"):
        field(torch.zeros(1, *field.shape), 0.5, torch.tensor([5]))
    with pytest.raises(ValueError, match="cfg needs a field with a null condition"):
        fg.guidance.build("cfg", field, w=2.0)


def test_the_average_is_taken_from_what_a_training_script_saved(tmp_path: Path) -> None:
    state = published_dit.random_file(FACTS)
    saved = {"model": published_dit.random_file(FACTS, seed=1), "ema": state, "opt": {"state": {0: {"step": 3}}}}
    found = fg.pretrained.read(write(tmp_path, saved), "dit", heads=3)
    expected = fg.pretrained.read(write(tmp_path, state, "ema.pt"), "dit", heads=3)
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in expected.tensors.items())
    whole = write(tmp_path, {**saved, "args": Namespace(model="DiT-XL/2")}, "whole.pt")
    with pytest.raises(ValueError, match=r"nothing of it was run; .* torch.save\(checkpoint\['ema'\], 'weights.pt'\)"):
        fg.pretrained.read(whole, "dit", heads=3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_files_in_half_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {name: tensor.to(dtype) for name, tensor in published_dit.random_file(Facts(side=8)).items()}
    imported = fg.pretrained.read(write(tmp_path, state), "dit", heads=3)
    assert {tensor.dtype for tensor in imported.tensors.values()} == {torch.float32}


def test_the_size_may_be_another(tmp_path: Path) -> None:
    state = published_dit.random_file(FACTS)
    assert fg.pretrained.build("dit", state, heads=3, size=[8, 4]).shape == (4, 8, 4)
    del state["pos_embed"]
    assert fg.pretrained.build("sit", state, heads=3, size=[8, 4]).shape == (4, 8, 4)


def also(**more: Tensor) -> State:
    return {**published_dit.random_file(FACTS), **more}


def without(name: str) -> State:
    return {key: tensor for key, tensor in also().items() if key != name}


SHIFTED = published_dit.random_file(FACTS)["pos_embed"].flip(1)


@pytest.mark.parametrize(
    ("state", "options", "words"),
    [
        (without("x_embedder.proj.weight"), {}, "x_embedder.proj.weight is missing, which every file of this kind has"),
        (without("y_embedder.embedding_table.weight"), {}, "y_embedder.embedding_table.weight is missing"),
        (without("blocks.1.attn.qkv.bias"), {}, "blocks.1.attn.qkv.bias is missing, 72 numbers of this architecture"),
        (without("pos_embed"), {}, r"no pos_embed, .* say size=\[height, width\]"),
        (also(**{"blocks.0.attn.q_norm.weight": torch.ones(8)}), {}, "blocks.0.attn.q_norm.weight is in the file, and"),
        (also(**{"blocks.1.mlp.fc1.bias": torch.ones(5)}), {}, r"blocks.1.mlp.fc1.bias has the shape \(5,\), and"),
        (also(**{"blocks.1.mlp.fc1.bias": torch.tensor(5.0)}), {}, r"blocks.1.mlp.fc1.bias has the shape \(\), and"),
        (also(**{"x_embedder.proj.weight": torch.ones(24, 16)}), {}, r"has the shape \(24, 16\), and in .* 4 axes"),
        (also(**{"x_embedder.proj.weight": torch.ones(24, 4, 2, 4)}), {}, "its patches are 2x4, and those of a dit"),
        (also(**{"final_layer.linear.weight": torch.ones(48, 24)}), {}, "gives 48 numbers for a patch of 16, where"),
        (also(pos_embed=SHIFTED), {}, "pos_embed holds other positions than the sines and cosines .* learned ones"),
        (also(pos_embed=torch.full((1, 9, 24), torch.nan)), {}, "pos_embed holds other positions"),
        (
            also(pos_embed=torch.ones(1, 8, 24)),
            {},
            r"pos_embed has the shape \(1, 8, 24\), and the positions in a square",
        ),
        (also(pos_embed=torch.ones(1, 9, 24, dtype=torch.long)), {}, "pos_embed holds other positions"),
        (published_dit.random_file(Facts(width=26, heads=2)), {"heads": 2}, "width must be a multiple of 4, not 26"),
        (also(pos_embed=torch.ones(9, 24)), {}, r"pos_embed has the shape \(9, 24\)"),
        (
            also(),
            {"heads": None},
            r"its width 24 is that of no published model, .* say heads=... \(published: 6 at 384",
        ),
        (also(), {"heads": 5}, "heads must divide the width 24, and 5 does not"),
        (also(), {"size": [7, 6]}, r"is \[height, width\], each a multiple of 2, not \[7, 6\]"),
        (also(), {"size": [6]}, r"is \[height, width\], each a multiple of 2, not \[6\]"),
        (also(), {"nul_label": False}, "did you mean 'null_label'"),
        (also(step=3), {}, "holds more than tensors by name: 'step' is a int"),
        ({"time_embed.0.weight": torch.ones(4, 1)}, {}, "x_embedder.proj.weight is missing, which every file of this"),
    ],
)
def test_what_is_wrong_is_named(state: dict, options: dict, words: str, tmp_path: Path) -> None:
    for format in ("dit", "sit"):
        with pytest.raises(ValueError, match=words) as caught:
            fg.load_pretrained(write(tmp_path, state), format=format, **{"heads": 3, **options})
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="'predicts' of format of published models 'sit' must be one of 'velocity'"):
        fg.load_pretrained(write(tmp_path, also()), format="sit", heads=3, predicts="data")
