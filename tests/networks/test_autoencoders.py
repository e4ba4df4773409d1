"""What must hold of every registered autoencoder, and of those of diffusers where it is installed."""

import copy
import json
import sys
from pathlib import Path

import pytest
import torch

import flowguide as fg

SHAPES = [(1, 8, 8), (3, 32, 32)]
SMALL = {"autoencoder": {"widths": [4, 8]}, "autoencoder_kl": {"widths": [4, 8, 8], "groups": 4}}
NAMES = [name for name in fg.networks.names() if issubclass(fg.networks.registry.get(name), fg.networks.Autoencoder)]

every_case = pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name in NAMES for shape in SHAPES], ids=lambda value: str(value)
)


def build(name: str, shape: tuple[int, ...], **options: object) -> fg.networks.Autoencoder:
    if name == "autoencoder_kl":
        pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return fg.networks.build(name, channels=shape[0], **{**SMALL.get(name, {}), **options})


def moved(autoencoder: fg.networks.Autoencoder) -> fg.networks.Autoencoder:
    """With random numbers everywhere: layers that start at zero hide what comes before them."""
    generator = torch.Generator().manual_seed(0)
    for parameter in autoencoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return autoencoder.eval()


@every_case
def test_shapes_and_gradients(name: str, shape: tuple[int, ...]) -> None:
    autoencoder = build(name, shape)
    x, latent = torch.rand(2, *shape) * 2 - 1, autoencoder.latent_shape(shape)
    assert latent == (4, shape[1] // 4, shape[2] // 4) == (4, *(side // autoencoder.factor for side in shape[1:]))
    optimizer = torch.optim.Adam(autoencoder.parameters(), 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        made = autoencoder(x, torch.randn(2, *latent))
        assert made.images.shape == x.shape
        assert made.mean.shape == made.std.shape == (2, *latent)
        assert (made.std > 0).all()
        ((made.images - x).square().mean() + made.std.mean() + made.mean.square().mean()).backward()
        optimizer.step()
    untouched = [each for each, p in autoencoder.named_parameters() if p.grad is None or not p.grad.any()]
    # Attention does not see what is added to all keys alike.
    assert [each for each in untouched if not each.endswith("to_k.bias")] == []


@every_case
def test_it_is_a_draw_that_is_decoded(name: str, shape: tuple[int, ...]) -> None:
    autoencoder = moved(build(name, shape))
    x, noise = torch.rand(3, *shape) * 2 - 1, torch.randn(3, *autoencoder.latent_shape(shape))
    mean, std = autoencoder.encode(x)
    torch.testing.assert_close(autoencoder(x).images, autoencoder.decode(mean))
    torch.testing.assert_close(autoencoder(x, noise).images, autoencoder.decode(mean + std * noise))
    for row in range(3):  # each image by itself
        alone = autoencoder(x[row : row + 1], noise[row : row + 1]).images
        torch.testing.assert_close(alone[0], autoencoder(x, noise).images[row], rtol=1e-3, atol=1e-4)


@every_case
def test_the_digest_is_that_of_what_it_does(name: str, shape: tuple[int, ...]) -> None:
    autoencoder = build(name, shape)
    digest = autoencoder.digest
    assert build(name, shape).digest == digest
    assert copy.deepcopy(autoencoder).to(memory_format=torch.channels_last).eval().digest == digest
    with torch.no_grad():
        next(autoencoder.parameters()).view(-1)[0] += 1e-3
    assert autoencoder.digest != digest
    other = build(name, shape)
    other.design = {**other.design, "patch": 3}
    assert other.digest != digest


@every_case
def test_images_that_do_not_fit_are_refused(name: str, shape: tuple[int, ...]) -> None:
    autoencoder, (channels, height, width) = build(name, shape), shape
    with pytest.raises(ValueError, match=f"images of {channels} channels, not of 2"):
        autoencoder.encode(torch.zeros(1, 2, height, width))
    with pytest.raises(ValueError, match="sides are multiples of 4 pixels, not"):
        autoencoder.encode(torch.zeros(1, channels, height, width + 2))
    with pytest.raises(ValueError, match="takes images, channels x height x width, not samples of 2"):
        autoencoder.latent_shape((2,))
    with pytest.raises(ValueError, match="takes images"):
        type(autoencoder).options_for((2,), None)


def test_patches_and_levels_make_the_factor() -> None:
    for patch, levels in ((1, 1), (1, 3), (2, 2), (4, 1)):
        autoencoder = build("autoencoder", (1, 8, 8), patch=patch, widths=[4] * levels)
        assert autoencoder.factor == patch * 2 ** (levels - 1)
        assert autoencoder(torch.zeros(1, 1, 8, 8)).images.shape == (1, 1, 8, 8)
    for options in ({"patch": 0}, {"widths": []}, {"widths": [0]}, {"latent_channels": 0}):
        with pytest.raises(ValueError, match="an autoencoder needs"):
            build("autoencoder", (1, 8, 8), **options)


def test_without_diffusers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    kind = fg.networks.registry.get("autoencoder_kl")
    for call in (
        lambda: fg.networks.build("autoencoder_kl", channels=3),
        lambda: kind.options_for((3, 8, 8), None),
        lambda: kind.published("owner/name"),
    ):
        with pytest.raises(ValueError, match=r"needs diffusers: pip install 'flowguide\[latent\]'"):
            call()


def test_a_folder_of_diffusers_is_read(tmp_path: Path) -> None:
    ours = moved(build("autoencoder_kl", (3, 32, 32)))
    ours.model.save_pretrained(tmp_path / "vae")
    kind = fg.networks.registry.get("autoencoder_kl")
    theirs = kind.published(tmp_path / "vae")
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    for a, b in zip(theirs(x), ours(x), strict=True):
        torch.testing.assert_close(a, b)
    assert theirs.digest == ours.digest
    again = fg.networks.registry.build_from(json.loads(json.dumps(theirs.node)))
    again.load_state_dict(theirs.state_dict())
    assert again.digest == ours.digest
    config = tmp_path / "vae" / "config.json"
    config.write_text(config.read_text().replace('"AutoencoderKL"', '"UNet2DModel"'))
    with pytest.raises(ValueError, match="holds a UNet2DModel, and not an AutoencoderKL"):
        kind.published(tmp_path / "vae")
    with pytest.raises(ValueError, match="cannot be read as an autoencoder of diffusers"):
        kind.published(tmp_path)
    with pytest.raises(ValueError, match="diffusers refuses the options"):
        build("autoencoder_kl", (3, 32, 32), groups=3)


def test_large_images_are_decoded_in_tiles() -> None:
    autoencoder = moved(build("autoencoder_kl", (3, 32, 32), attention=False))
    autoencoder.model.tile_latent_min_size, autoencoder.model.tile_sample_min_size = 8, 32
    seen = []
    autoencoder.model.decoder.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[-1]))
    autoencoder.decode(torch.randn(1, 4, 8, 8))
    assert seen == [8], "as large as a tile: at once"
    assert autoencoder.decode(torch.randn(1, 4, 12, 12)).shape == (1, 3, 48, 48)
    assert len(seen) > 2
    assert max(seen) == 8
