"""The data set of latents: what its batches are, and folders that are not what they say."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from encoded import DATA, encoded, write_autoencoder
from stored_data import write_images

import flowguide as fg
from flowguide import conditioners
from flowguide.data.latent_folder import Moments, read_manifest
from flowguide.encoding import load_autoencoder

Build = Callable[..., fg.data.Samples]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("glyphs")
    encoded(where)
    return where


@pytest.fixture(scope="module")
def flipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of pictures whose mirror images are as good."""
    where = tmp_path_factory.mktemp("pictures")
    node = {"name": "image_folder", "flip": True, **write_images(where / "pictures", each=12)}
    encoded(where, data=node, precision="float32")
    return where


def test_they_are_the_posteriors_means_of_unit_variance(folder: Path) -> None:
    autoencoder = load_autoencoder(str(folder / "autoencoder"), device="cpu")
    for split in ("train", "test"):
        images = fg.data.registry.build_from(DATA, split=split)
        ours = fg.data.build("latents", split=split, folder=str(folder / "latents"))
        means, _ = autoencoder.encode(images.samples)
        every = autoencoder.encode(fg.data.registry.build_from(DATA).samples)[0].transpose(0, 1).flatten(1).double()
        expected = (means - every.mean(1)[:, None, None]) / every.std(1, correction=0)[:, None, None]
        torch.testing.assert_close(ours.samples, expected.float(), rtol=2e-2, atol=5e-3)  # float16
        assert torch.equal(ours.labels, images.labels)
        assert (ours.num_classes, ours.classes, ours.flip) == (3, images.classes, False)
        assert ours.captions == images.captions
        for name, attribute in images.attributes.items():
            assert torch.equal(ours.attributes[name].values, attribute.values)
            assert tuple(ours.attributes[name].names) == tuple(attribute.names)
    train = fg.data.build("latents", folder=str(folder / "latents")).samples.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(train.mean(1), torch.zeros(2).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(train.std(1, correction=0), torch.ones(2).double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("conditioner", [{"name": "text", "encoder": "words"}, {"name": "attributes", "dropout": 0.0}])
def test_networks_are_told_of_them_what_they_are_told_of_images(folder: Path, conditioner: dict) -> None:
    images, ours = fg.data.registry.build_from(DATA), fg.data.build("latents", folder=str(folder / "latents"))
    index, told = torch.tensor([3, 1, 49]), []
    for dataset in (images, ours):
        prepared, tell = conditioners.registry.build_from(conditioner).prepare(dataset)
        told.append(tell(*prepared.batch(index), torch.Generator()))
    assert torch.equal(*told)


def test_draws_from_the_posteriors(folder: Path) -> None:
    mean, drawn = (
        fg.data.build("latents", folder=str(folder / "latents"), sample=sample).to("cpu") for sample in (False, True)
    )
    rows = drawn.samples
    for index in (torch.tensor([3, 40]), torch.tensor([40, 3, 3])):
        assert torch.equal(drawn[index], rows[index]), "one draw for each sample, whatever is beside it"
    moments = drawn.manifest.moments
    assert rows.std().item() == pytest.approx(1, rel=0.05)
    # What a draw adds to the mean has the variance that the autoencoder says.
    scale = [torch.tensor(moments.scale(sample))[:, None, None] for sample in (False, True)]
    noise = rows * scale[1] - mean.samples * scale[0]
    assert abs(noise.mean()) < 4 * noise.std() / noise.numel() ** 0.5
    variance = noise.transpose(0, 1).flatten(1).var(1)
    torch.testing.assert_close(variance, torch.tensor(moments.variance).float(), rtol=0.15, atol=0)


def test_mirror_images_are_encoded_and_not_latents_mirrored(flipped: Path) -> None:
    node = {"name": "image_folder", "flip": True, "folder": str(flipped / "pictures"), "size": 8, "test_share": 0.5}
    images = fg.data.registry.build_from(node).samples
    train, test = (fg.data.build("latents", split=s, folder=str(flipped / "latents")) for s in ("train", "test"))
    assert (len(images), len(train), len(test), train.flip) == (18, 36, 18, False)
    autoencoder = load_autoencoder(str(flipped / "autoencoder"), device="cpu")
    scale, centre = (
        torch.tensor(each)[:, None, None] for each in (train.manifest.moments.scale(), train.manifest.moments.mean)
    )
    for some, rows in ((images, slice(None, 18)), (images.flip(-1), slice(18, None))):
        torch.testing.assert_close(train.samples[rows] * scale + centre, autoencoder.encode(some)[0])
    assert not torch.allclose(train.samples[18:], train.samples[:18].flip(-1), atol=0.1)
    assert torch.equal(train.labels[18:], train.labels[:18])
    together = train.samples.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(together.std(1, correction=0), torch.ones(2).double(), rtol=1e-5, atol=0)
    mixed = torch.tensor([20, 2, 35, 17])
    data, labels = train.batch(mixed)
    assert torch.equal(data, train.samples[mixed])
    assert torch.equal(labels, train.labels[mixed])


def test_statistics_of_parts_are_those_of_all() -> None:
    """Far from zero, where the mean of squares less the square of the mean would lose all digits."""
    values = numpy.random.default_rng(0).normal(1e6, [[1e-2], [3.0]], (2, 1000)).astype(numpy.float64)
    parts = [values[:, :10], values[:, 10:400], values[:, 400:400], values[:, 400:]]
    several = []
    for part in parts:
        mean = part.mean(1) if part.size else numpy.zeros(2)
        squares = ((part - mean[:, None]) ** 2).sum(1)
        several.append(Moments(part.shape[1], mean.tolist(), squares.tolist(), [float(part.shape[1])] * 2))
    total = Moments.together(several)
    numpy.testing.assert_allclose(total.mean, values.mean(1), rtol=1e-14)
    numpy.testing.assert_allclose(total.scale(), values.std(1), rtol=1e-7)
    assert total.variance == pytest.approx([(10**2 + 390**2 + 600**2) / 1000] * 2)
    assert Moments(4, [0.0], [0.0], [0.0]).scale() == [1.0], "a channel that says nothing stays as it is"


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda where: (where / "manifest.json").unlink(), "holds no latents: there is no manifest.json"),
        (lambda where: edit(where, complete=False), "is not complete: run 'flowguide encode .* again, as before"),
        (lambda where: edit(where, format=7), "it has the format 7, and this flowguide reads 1"),
        (lambda where: edit(where, shards=3), "is no manifest of latents"),
        (lambda where: (where / "manifest.json").write_text("{"), "cannot be read as a folder of latents"),
        (lambda where: (where / "train-00001.safetensors").unlink(), "train-00001.safetensors is gone: encode again"),
        (lambda where: cut(where / "train-00001.safetensors"), r"train-00001.* is damaged \(.* bytes in place of"),
        (lambda where: turn(where / "train-00001.safetensors"), r"train-00001.* is damaged \(its checksum\): remove"),
    ],
)
def test_a_damaged_folder_is_a_sentence(folder: Path, tmp_path: Path, damage, sentence: str) -> None:
    shutil.copytree(folder / "latents", tmp_path / "latents")
    damage(tmp_path / "latents")
    with pytest.raises(ValueError, match=sentence):
        fg.data.build("latents", folder=str(tmp_path / "latents"))


def edit(where: Path, **changes: object) -> None:
    file = where / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def turn(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def test_checksums_can_be_left_out(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "latents", tmp_path / "latents")
    turn(tmp_path / "latents" / "train-00001.safetensors")
    assert len(fg.data.build("latents", folder=str(tmp_path / "latents"), verify=False)) == 50


def test_latents_of_another_autoencoder_are_refused_by_hash(folder: Path, tmp_path: Path) -> None:
    encoded(tmp_path, write_autoencoder(tmp_path / "autoencoder", seed=1))
    ours, other = (
        fg.data.build("latents", folder=str(each / "latents")).follows["digest"] for each in (folder, tmp_path)
    )
    assert ours == read_manifest(folder / "latents").digest != other
    assert len(fg.data.build("latents", folder=str(folder / "latents"), digest=ours)) == 50
    with pytest.raises(ValueError, match="holds latents of another autoencoder, or of other data, than the run was"):
        fg.data.build("latents", folder=str(folder / "latents"), digest=other)


def test_shards_are_mapped_and_not_read(folder: Path) -> None:
    latents = fg.data.build("latents", folder=str(folder / "latents"), verify=False)
    assert all(each["mean"].dtype == torch.float16 for each in latents.tensors)
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("no /proc")
    assert maps.read_text().count("train-0000") >= len(latents.tensors) == 4
