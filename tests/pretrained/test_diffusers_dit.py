"""Folders of diffusers that hold a DiT: the forward pass, what the config tells, copies, and refusals."""

from pathlib import Path
from typing import Any

import published_dit
import pytest
import torch
from published_dit import Facts, State

import flowguide as fg

FACTS = Facts(closed_frequencies=True, feed_epsilon=1e-5)
EVERY = {
    "by default": FACTS,
    "as the weights were trained": Facts(),
    "another epsilon": Facts(closed_frequencies=True, feed_epsilon=0.1, variance=False),
    "large patches": Facts(closed_frequencies=True, feed_epsilon=1e-5, patch=4, channels=3, side=2, depth=3),
}
STATE, CONFIG = published_dit.random_folder(FACTS)


@torch.no_grad()
@pytest.mark.parametrize("name", EVERY)
def test_the_forward_pass_is_that_of_diffusers(name: str, tmp_path: Path) -> None:
    facts = EVERY[name]
    state, config = published_dit.random_folder(facts)
    folder = published_dit.write_folder(tmp_path / "transformer", state, config)
    options = {} if facts.closed_frequencies else {"closed_frequencies": False}
    field = fg.load_pretrained(folder, format="diffusers_dit", device="cpu", **options)
    assert field.shape == (facts.channels, facts.pixels, facts.pixels)
    g = torch.Generator().manual_seed(1)
    x, n, y = torch.randn(3, *field.shape, generator=g), torch.tensor([0.0, 417.0, 999.0]), torch.tensor([0, 4, 5])
    expected = published_dit.forward(state, facts, x, n, y)
    assert expected.abs().mean() > 0.1
    torch.testing.assert_close(field.network.all_outputs(x, n, y), expected, rtol=1e-5, atol=1e-5)


def test_it_is_told_timesteps_and_guided(tmp_path: Path) -> None:
    folder = published_dit.write_folder(tmp_path / "transformer", STATE, CONFIG)
    file = folder / "diffusion_pytorch_model.safetensors"
    field = fg.load_pretrained(file, format="diffusers_dit", device="cpu")
    assert field.path == fg.paths.build("ddpm", schedule="linear")
    assert field.num_classes == 5
    assert field.null(2).tolist() == [5, 5]
    rule = fg.guidance.build("cfg", field, w=3.0)
    samples = fg.sample(rule, (2, *field.shape), torch.tensor([0, 4]), fg.solvers.build("ddim", steps=3))
    assert samples.isfinite().all()
    other = fg.pretrained.read(folder, "diffusers_dit", schedule="scaled_linear", predicts="v")
    assert (other.path, other.predicts) == ({"name": "ddpm", "schedule": "scaled_linear"}, "v")


def test_the_published_folder_is_known() -> None:
    """The config of facebook/DiT-XL-2-512, from an older version, of which a DiT is not a class of its own."""
    config = {
        "_class_name": "Transformer2DModel",
        "_diffusers_version": "0.12.0.dev0",
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "attention_head_dim": 72,
        "cross_attention_dim": None,
        "dropout": 0.0,
        "in_channels": 4,
        "norm_elementwise_affine": False,
        "norm_num_groups": 32,
        "norm_type": "ada_norm_zero",
        "num_attention_heads": 16,
        "num_embeds_ada_norm": 1000,
        "num_layers": 28,
        "num_vector_embeds": None,
        "only_cross_attention": False,
        "out_channels": 8,
        "patch_size": 2,
        "sample_size": 64,
        "upcast_attention": False,
        "use_linear_projection": False,
    }
    with pytest.raises(ValueError, match=r"pos_embed.proj.weight is missing, 1152 x 16 numbers of this architecture"):
        fg.pretrained.build("diffusers_dit", {}, config)


def test_what_the_config_does_not_say_is_as_in_diffusers() -> None:
    config = {key: value for key, value in CONFIG.items() if key not in ("patch_size", "in_channels", "norm_eps")}
    imported = fg.pretrained.build("diffusers_dit", STATE, config)
    assert imported.network == fg.pretrained.build("diffusers_dit", STATE, CONFIG).network
    older = {**config, "_class_name": "Transformer2DModel", "cross_attention_dim": None, "interpolation_scale": 1}
    assert fg.pretrained.build("diffusers_dit", STATE, older).network == imported.network


def test_saved_positions_are_checked() -> None:
    right = published_dit.random_file(FACTS)["pos_embed"]
    fg.pretrained.build("diffusers_dit", {**STATE, "pos_embed.pos_embed": right}, CONFIG)
    with pytest.raises(ValueError, match=r"pos_embed.pos_embed holds other positions"):
        fg.pretrained.build("diffusers_dit", {**STATE, "pos_embed.pos_embed": right / 2}, CONFIG)


def test_there_must_be_a_config(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"there is no config.json in"):
        fg.load_pretrained(tmp_path / "model.pt", format="diffusers_dit")


EMB = "norm1.emb.timestep_embedder.linear_1.bias"


def also(**more: torch.Tensor) -> State:
    return {**STATE, **more}


def without(name: str) -> State:
    return {key: tensor for key, tensor in STATE.items() if key != name}


@pytest.mark.parametrize(
    ("state", "config", "words"),
    [
        (
            STATE,
            {"_class_name": "UNet2DModel"},
            "_class_name is 'UNet2DModel', and a DiT is a DiTTransformer2DModel or",
        ),
        (
            STATE,
            {"norm_type": "ada_norm_single"},
            "norm_type is 'ada_norm_single', and that of a DiT is 'ada_norm_zero'",
        ),
        (STATE, {"activation_fn": "geglu"}, "activation_fn is 'geglu', and for a dit it has to be 'gelu-approximate'"),
        (STATE, {"attention_bias": False}, "attention_bias is False, and for a dit it has to be True"),
        (STATE, {"norm_elementwise_affine": True}, "norm_elementwise_affine is True, and for a dit"),
        (STATE, {"cross_attention_dim": 768}, "cross_attention_dim is 768, and for a dit it has to be None"),
        (STATE, {"interpolation_scale": 2}, "interpolation_scale is 2, and for a dit"),
        (STATE, {"qk_norm": "rms"}, "qk_norm is 'rms', and nothing is known here of a qk_norm of a DiT"),
        (STATE, {"patch_size": "two"}, "patch_size is 'two', and it is a whole number, at least 1"),
        (STATE, {"num_embeds_ada_norm": None}, "num_embeds_ada_norm is None, and it is a whole number"),
        (STATE, {"norm_eps": -1}, "norm_eps is -1, and it is a small number"),
        (STATE, {"sample_size": 7}, r"each a multiple of 2, not \[7, 7\]"),
        (STATE, {"out_channels": 5}, "gives 20 numbers for a patch of 16"),
        (STATE, {"num_attention_heads": 4}, r"has the shape .*24.*, and this architecture needs .*32"),
        (STATE, {"num_layers": 3}, r"transformer_blocks.2.norm1.emb.\S+ is missing, a copy of"),
        (STATE, {"num_layers": 1}, r"transformer_blocks.1.\S+ is in the file, and this architecture has no use for it"),
        (STATE, {"num_embeds_ada_norm": 6}, r"embedding_table.weight has the shape \(6, 24\), and .* needs \(7, 24\)"),
        (
            also(**{f"transformer_blocks.1.{EMB}": STATE[f"transformer_blocks.1.{EMB}"] + 1e-3}),
            {},
            f"transformer_blocks.1.{EMB} is not equal to transformer_blocks.0.{EMB}: the blocks of a dit share",
        ),
        (
            without("transformer_blocks.1.attn1.to_k.weight"),
            {},
            "transformer_blocks.1.attn1.to_k.weight is missing, 24 x",
        ),
        (
            also(**{"transformer_blocks.1.attn1.to_k.weight": torch.ones(48, 24)}),
            {},
            r"transformer_blocks.1.attn1.to_k.weight has the shape \(48, 24\), and .* needs \(24, 24\)",
        ),
        (
            also(**{"transformer_blocks.0.norm3.weight": torch.ones(24)}),
            {},
            "transformer_blocks.0.norm3.weight is in the",
        ),
    ],
)
def test_what_is_wrong_is_named(state: State, config: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = published_dit.write_folder(tmp_path / "transformer", state, {**CONFIG, **config})
    with pytest.raises(ValueError, match=words) as caught:
        fg.load_pretrained(folder, format="diffusers_dit", device="cpu")
    assert "\n" not in str(caught.value)


def test_the_older_class_says_its_norm() -> None:
    config = {key: value for key, value in CONFIG.items() if key != "norm_type"}
    fg.pretrained.build("diffusers_dit", STATE, config)
    with pytest.raises(ValueError, match="norm_type is 'layer_norm', and that of a DiT is 'ada_norm_zero'"):
        fg.pretrained.build("diffusers_dit", STATE, {**config, "_class_name": "Transformer2DModel"})
