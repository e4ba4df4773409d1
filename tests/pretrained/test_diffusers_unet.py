"""Folders of diffusers with a UNet2DModel: their forward pass to the last digits, and refusals."""

from pathlib import Path

import published_diffusers_unet as published
import pytest
import torch
from published_diffusers_unet import ADM, DDPM

import flowguide as fg

WITHOUT_ATTENTION = {
    "down_block_types": ["ResnetDownsampleBlock2D"] * 2,
    "up_block_types": ["ResnetUpsampleBlock2D"] * 2,
    "add_attention": False,
}
CONFIGS = {
    "ddpm": DDPM,
    "ddpm, padded on all sides": DDPM | {"downsample_padding": 1, "attention_head_dim": 8},
    "adm": ADM,
    "adm, unconditional": ADM | WITHOUT_ATTENTION | {"num_class_embeds": None},
}


def load(tmp_path: Path, config: dict, older: bool = False, **options) -> fg.NetworkField:
    folder = published.write(tmp_path / "unet", config, published.random_state(config), older)
    return fg.load_pretrained(folder, format="diffusers_unet", device="cpu", **options)


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_forward_pass_is_the_published_one(name: str, older: bool, tmp_path: Path) -> None:
    config = CONFIGS[name]
    field = load(tmp_path, config, older)
    assert field.shape == ((3, 16, 16) if name.startswith("ddpm") else (3, 8, 16))
    assert field.path == fg.paths.build("ddpm")
    x = torch.randn(3, *field.shape, generator=torch.Generator().manual_seed(1))
    steps, y = torch.tensor([0.0, 417.25, 999.0]), torch.arange(3) if config.get("num_class_embeds") else None
    expected = published.forward(published.random_state(config), config, x, steps, y)[:, :3]
    assert expected.abs().mean() > 0.1
    torch.testing.assert_close(field.network(x, steps, y), expected, rtol=1e-5, atol=1e-5)
    assert fg.sample(field, x.shape, y, fg.solvers.build("ddim", steps=2)).isfinite().all()


def test_the_last_label_may_mean_none(tmp_path: Path) -> None:
    field = load(tmp_path, ADM, null_label=True, size=[8, 8])
    assert (field.num_classes, field.shape) == (5, (3, 8, 8))
    x, steps = torch.randn(2, 3, 8, 8), torch.tensor([3.0, 700.0])
    expected = published.forward(published.random_state(ADM), ADM, x, steps, torch.tensor([5, 5]))[:, :3]
    torch.testing.assert_close(field.network(x, steps), expected, rtol=1e-5, atol=1e-5)
    guided = fg.guidance.build("cfg", field, w=2.0)
    solver = fg.solvers.build("ddim", steps=2)
    assert fg.sample(guided, x.shape, torch.tensor([0, 4]), solver).isfinite().all()
    with pytest.raises(ValueError, match="cfg needs a field with a null condition"):
        fg.guidance.build("cfg", load(tmp_path, ADM), w=2.0)


def test_what_the_scheduler_says_is_an_option(tmp_path: Path) -> None:
    config = DDPM | {"num_train_timesteps": 500}
    field = load(tmp_path, config, schedule="cosine", predicts="v")
    assert field.path == fg.paths.build("ddpm", schedule="cosine", steps=500)
    x, n = torch.randn(2, 3, 16, 16), torch.tensor([12.0, 400.0])
    v = field(x, field.path.time_of_timestep(n)).v
    torch.testing.assert_close(v, field.network(x, n), rtol=1e-3, atol=1e-3)


def without(name: str) -> dict:
    state = published.random_state(DDPM)
    del state[name]
    return state


def also(**more: torch.Tensor) -> dict:
    return {**published.random_state(DDPM), **more}


MORE = {"extra": torch.zeros(1)}
WRONG = {"down_blocks.1.attentions.0.to_k.weight": torch.zeros(3, 32)}


@pytest.mark.parametrize(
    ("state", "config", "words"),
    [
        (without("mid_block.attentions.0.to_k.bias"), {}, "mid_block.attentions.0.to_k.bias is missing"),
        (without("down_blocks.0.downsamplers.0.conv.bias"), {}, "down_blocks.0.downsamplers.0.conv.bias is missing"),
        (also(**MORE), {}, "extra is in the file, and this architecture has no use for it"),
        (also(**WRONG), {}, r"to_k.weight has the shape \(3, 32\), and this architecture needs"),
        (also(), {"_class_name": "UNet2DConditionModel"}, "is of a UNet2DConditionModel, and what is read here is"),
        (also(), {"addition": 1}, "an entry addition, which no UNet2DModel is known to have"),
        (also(), {"time_embedding_type": "fourier"}, "its time_embedding_type is 'fourier', and there is no such"),
        (also(), {"center_input_sample": True}, "its center_input_sample is True"),
        (also(), {"act_fn": "gelu"}, "its act_fn is 'gelu', and there is no such network here but with 'silu' or"),
        (also(), {"freq_shift": 2}, "its freq_shift is 2"),
        (also(), {"mid_block_type": None}, "its mid_block_type is None"),
        (also(), {"mid_block_scale_factor": 2}, "its mid_block_scale_factor is 2"),
        (also(), {"downsample_padding": 2}, "its downsample_padding is 2"),
        (also(), {"downsample_type": "pool"}, "its downsample_type is 'pool'"),
        (also(), {"class_embed_type": "timestep"}, "its class_embed_type is 'timestep'"),
        (also(), {"resnet_time_scale_shift": "spatial"}, "its resnet_time_scale_shift is 'spatial'"),
        (also(), {"time_embedding_dim": 32}, "its time_embedding_dim is 32, and here it is 64"),
        (also(), {"attn_norm_num_groups": 4}, "its attn_norm_num_groups is 4"),
        (also(), {"resnet_time_scale_shift": "scale_shift"}, "its attn_norm_num_groups is None"),
        (also(), {"norm_num_groups": None}, "its norm_num_groups is None, and should be a number"),
        (also(), {"layers_per_block": 0}, "its layers_per_block is 0"),
        (also(), {"num_class_embeds": True}, "its num_class_embeds is True"),
        (also(), {"norm_eps": "small"}, "its norm_eps is 'small'"),
        (also(), {"norm_eps": 0.0}, "epsilon is a small number"),
        (also(), {"block_out_channels": 16}, "its block_out_channels is 16"),
        (also(), {"block_out_channels": [16, 32]}, "3 down_block_types, 3 up_block_types and 2 block_out_channels"),
        (also(), {"attention_head_dim": 5}, "head_width 5 does not divide the 32 channels of level 1"),
        (also(), {"out_channels": 4}, "takes 3 channels and gives 4"),
        (also(), {"sample_size": [1, 2, 3]}, r"its sample_size is \[1, 2, 3\]"),
        (also(), {"sample_size": 18}, r"multiples of 4, not \(18, 18\)"),
        (also(), {"up_block_types": ["UpBlock2D"] * 3}, r"attention at the levels \[1\] on its way down and \[\] on"),
        (
            also(),
            {"down_block_types": ["DownBlock2D", "SkipDownBlock2D", "DownBlock2D"]},
            "blocks of the type SkipDownBlock2D, and here there are",
        ),
        (also(), {"downsample_type": "resnet"}, "some of its blocks change the resolution by convolutions and some"),
    ],
)
def test_what_is_wrong_is_named(state: dict, config: dict, words: str, tmp_path: Path) -> None:
    folder = published.write(tmp_path / "unet", DDPM | config, state)
    with pytest.raises(ValueError, match=words) as caught:
        fg.load_pretrained(folder, format="diffusers_unet")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"null_label": True}, "says that the last of its labels means none, and it has no labels"),
        ({"size": [16]}, r"size is \[height, width\], not \[16\]"),
        ({"predicts": "velocity"}, "must be one of 'noise', 'data', 'v'"),
        ({"shedule": "linear"}, "did you mean 'schedule'"),
    ],
)
def test_options_say_what_is_wrong(options: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        load(tmp_path, DDPM, **options)


def test_channels_of_any_ratio(tmp_path: Path) -> None:
    """116 / 28 is no float that times 28 is 116."""
    config = {"block_out_channels": [28, 116, 28], "norm_num_groups": 4, "layers_per_block": 1}
    assert load(tmp_path, DDPM | config).network.design.widths == [28, 116, 28]
