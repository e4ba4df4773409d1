"""Runs on latents: their fields, and what becomes of their samples."""

import shutil
from pathlib import Path

import pytest
import torch
from encoded import DATA, encoded, write_autoencoder

import flowguide as fg
from flowguide import training
from flowguide.encoding import load_autoencoder
from flowguide.fields import LatentField

NETWORK = {"name": "dit", "patch": 2, "depth": 1, "width": 16, "heads": 2}


def recipe(folder: Path, **changes: object) -> dict[str, object]:
    return {
        "data": {"name": "latents", "folder": str(folder / "latents")},
        "path": {"name": "linear"},
        "network": NETWORK,
        "objective": {"name": "cfm"},
        "training": {"steps": 4, "batch_size": 8, "save_every": 2},
        "device": "cpu",
        **changes,
    }


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an autoencoder, latents, and a run on them."""
    folder = tmp_path_factory.mktemp("latent")
    encoded(folder)
    training.train(recipe(folder), folder / "run", show=False)
    return folder


def drawn(field: fg.Field, config: training.TrainConfig, **options: object) -> torch.Tensor:
    return training.samples(config, field, 6, torch.arange(6) % 3, fg.solvers.build("euler", steps=2), 5, **options)


def test_samples_are_decoded_once_and_rules_act_on_latents(where: Path) -> None:
    field = fg.load(where / "run", device="cpu")
    assert isinstance(field, LatentField)
    assert field.shape == (2, 4, 4)
    guided = fg.guidance.build("cfg", field, w=2.0)
    latents = fg.sample(guided, (6, *field.shape), torch.arange(6) % 3, fg.solvers.build("euler", steps=2), 5)
    images = drawn(guided, field.config)
    assert torch.equal(images, field.decode(latents))
    manifest = fg.data.build("latents", folder=str(where / "latents")).manifest
    scale, centre = (torch.tensor(each)[:, None, None] for each in (manifest.moments.scale(), manifest.moments.mean))
    expected = load_autoencoder(str(where / "autoencoder"), device="cpu").decode(latents * scale + centre)
    assert images.shape == (6, 3, 8, 8)
    torch.testing.assert_close(images, expected.clamp(-1, 1))
    torch.testing.assert_close(drawn(guided, field.config, batch_size=4), images, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(field.decoder(latents, batch_size=1), images, rtol=1e-4, atol=1e-5)
    assert field.decode(latents[:0]).shape == (0, 3, 8, 8)


def test_predictions_are_those_of_the_plain_field(where: Path) -> None:
    field = fg.load(where / "run", device="cpu")
    plain = fg.NetworkField(field.network, field.path).eval()
    x, y = torch.randn(3, 2, 4, 4), torch.tensor([0, 1, 2])
    assert torch.equal(field(x, 0.3, y).velocity, plain(x, 0.3, y).velocity)
    assert field.state_dict().keys() == plain.state_dict().keys(), "the autoencoder is no part of the model"


def test_decoding_undoes_what_the_data_set_does(where: Path) -> None:
    """A sample of the data set is decoded to the reconstruction of its image, for means and for draws."""
    autoencoder = load_autoencoder(str(where / "autoencoder"), device="cpu")
    images = fg.data.registry.build_from(DATA).samples
    latents = fg.data.build("latents", folder=str(where / "latents")).samples
    decoded = training.Decoder(where / "latents")(latents)
    torch.testing.assert_close(decoded, autoencoder(images).images.clamp(-1, 1), rtol=0, atol=3e-2)  # float16
    drawn = fg.data.build("latents", folder=str(where / "latents"), sample=True)
    mean, std = (each.float() for each in drawn._rows(torch.arange(50), ("mean", "std")))
    noise = fg.randomness.normal(mean.shape, 0)
    expected = autoencoder.decode(mean + std * noise).clamp(-1, 1)
    decoded = training.Decoder(where / "latents", sample=True)(drawn.samples)
    torch.testing.assert_close(decoded, expected, rtol=1e-3, atol=1e-4)


def test_a_run_keeps_what_its_latents_are(where: Path) -> None:
    digest = fg.data.build("latents", folder=str(where / "latents")).follows["digest"]
    assert training.RunFolder(where / "run").config()["data"]["digest"] == digest
    training.train(recipe(where, training={"steps": 5, "batch_size": 8}), where / "run", show=False)  # goes on
    node, shape = training.pixel_data(fg.load(where / "run", device="cpu").config)
    assert (node, shape) == (DATA, (3, 8, 8))


def test_latents_of_another_autoencoder_are_refused(where: Path, tmp_path: Path) -> None:
    shutil.copytree(where / "run", tmp_path / "run")
    other = write_autoencoder(tmp_path / "other", seed=1)
    encoded(tmp_path, other)
    with pytest.raises(ValueError, match=r"holds a run with data.digest="):
        training.train(recipe(tmp_path, training={"steps": 9, "batch_size": 8}), tmp_path / "run", show=False)
    field = fg.load(where / "run", device="cpu")
    moved = training.Decoder(tmp_path / "latents", digest=field.config.data["digest"])
    with pytest.raises(ValueError, match="holds latents of another autoencoder"):
        moved(torch.zeros(1, 2, 4, 4))
    # The right latents, beside which another autoencoder was put.
    shutil.copytree(where / "latents", tmp_path / "mixed")
    shutil.copy(tmp_path / "latents" / "autoencoder.safetensors", tmp_path / "mixed" / "autoencoder.safetensors")
    with pytest.raises(ValueError, match="is not the autoencoder that made the latents beside it"):
        training.Decoder(tmp_path / "mixed")(torch.zeros(1, 2, 4, 4))


def test_without_its_folder_a_field_still_predicts(where: Path, tmp_path: Path) -> None:
    encoded(tmp_path, where / "autoencoder")
    training.train(recipe(tmp_path), tmp_path / "run", show=False)
    shutil.rmtree(tmp_path / "latents")
    field = fg.load(tmp_path / "run", device="cpu")
    assert fg.sample(field, (2, *field.shape), torch.tensor([0, 1])).isfinite().all()
    with pytest.raises(ValueError, match=r"there is no folder .*latents"):
        drawn(field, field.config)


def test_a_gpu_without_memory_is_asked_for_less(where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = training.Decoder(where / "latents")
    latents = torch.randn(7, 2, 4, 4)
    expected, (_, autoencoder) = decoder(latents), decoder.open("cpu")
    asked = []

    def full(some: torch.Tensor, decode=autoencoder.decode, most: int = 2) -> torch.Tensor:
        asked.append(len(some))
        if len(some) > most:
            raise torch.OutOfMemoryError
        return decode(some)

    monkeypatch.setattr(autoencoder, "decode", full)
    torch.testing.assert_close(decoder(latents, batch_size=7), expected, rtol=1e-4, atol=1e-5)
    assert asked == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    monkeypatch.setattr(autoencoder, "decode", lambda some: full(some, most=0))
    with pytest.raises(ValueError, match="no memory to decode one image"):
        decoder(latents)
