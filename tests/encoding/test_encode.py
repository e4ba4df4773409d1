"""flowguide encode: what is written, that nothing is lost or doubled when it is stopped, and what is refused."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from encoded import DATA, encoded, write_autoencoder
from safetensors import SafetensorError
from safetensors.torch import load_file
from stored_data import write_images

import flowguide as fg
from flowguide import training
from flowguide.data.latent_folder import read_manifest
from flowguide.encoding import load_autoencoder
from flowguide.encoding.shards import write_shard

TESTS = Path(__file__).parents[1]


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_autoencoder(tmp_path_factory.mktemp("run") / "autoencoder")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, autoencoder: Path) -> Path:
    """What an encoding writes that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    encoded(folder, autoencoder)
    return folder / "latents"


def test_what_is_written(whole: Path, autoencoder: Path) -> None:
    names = ["autoencoder.safetensors", "manifest.json", *(f"test-0000{n}.safetensors" for n in range(2))]
    assert sorted(files(whole)) == names + [f"train-0000{n}.safetensors" for n in range(4)]
    manifest = read_manifest(whole)
    assert manifest.shape == [2, 4, 4]
    assert manifest.data == DATA
    assert [shard.samples for shard in manifest.shards["train"]] == [16, 16, 16, 2]
    rows = [load_file(whole / shard.file) for shard in manifest.shards["train"]]
    assert torch.cat([each["index"] for each in rows]).tolist() == list(range(50))
    assert fg.load(whole / "autoencoder.safetensors", device="cpu").digest == manifest.autoencoder
    assert manifest.autoencoder == load_autoencoder(str(autoencoder), device="cpu").digest


def test_the_psnr_is_that_of_decoded_held_out_images(whole: Path, autoencoder: Path) -> None:
    images = fg.data.registry.build_from(DATA, split="test").samples
    latents = torch.cat([load_file(whole / f"test-0000{n}.safetensors")["mean"] for n in range(2)]).float()
    decoded = load_autoencoder(str(autoencoder), device="cpu").decode(latents).clamp(-1, 1)
    # Of pixels in [0, 1], as it is usually stated.
    error = ((decoded + 1) / 2 - (images + 1) / 2).double().square().mean()
    assert read_manifest(whole).psnr == pytest.approx(-10 * error.log10().item(), rel=1e-6)


def test_it_goes_on_where_it_was_stopped(
    whole: Path, autoencoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, room = [], importlib.import_module("flowguide.encoding.encode")

    def stopped(file: Path, rows: dict, write: Callable = room.write_shard) -> object:
        if len(written) in (2, 4) and not file.with_suffix(".stopped").exists():
            file.with_suffix(".stopped").touch()
            (file.parent / f".{file.name}.part").write_bytes(b"half")
            (file.parent / ".tmpAbC123").write_bytes(b"half")
            raise KeyboardInterrupt
        written.append(file.name)
        return write(file, rows)

    monkeypatch.setattr(room, "write_shard", stopped)
    for _ in range(2):
        with pytest.raises(training.Interrupted, match="the same command goes on"):
            encoded(tmp_path, autoencoder)
        with pytest.raises(ValueError, match="is not complete: run 'flowguide encode"):
            fg.data.build("latents", folder=str(tmp_path / "latents"))
    encoded(tmp_path, autoencoder)
    for mark in (tmp_path / "latents").glob("*.stopped"):
        mark.unlink()
    assert len(written) == len(set(written)) == 6, "nothing is written twice"
    assert files(tmp_path / "latents") == files(whole)
    encoded(tmp_path, autoencoder)
    assert len(written) == 6, "and nothing is left to do"


def test_a_file_that_is_gone_or_damaged_is_made_again(whole: Path, autoencoder: Path, tmp_path: Path) -> None:
    encoded(tmp_path, autoencoder)
    (tmp_path / "latents" / "train-00002.safetensors").unlink()
    damaged = tmp_path / "latents" / "test-00000.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:100])
    encoded(tmp_path, autoencoder)
    assert files(tmp_path / "latents") == files(whole)


@pytest.mark.slow
def test_an_encoding_that_is_killed_ten_times_is_the_same(tmp_path: Path, autoencoder: Path) -> None:
    """By kill -9, at any moment; and so is one that two processes share, and that is killed twice."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    kills = {}
    for kind, number, world in (("whole", 0, 1), ("killed", 10, 1), ("shared", 2, 2)):
        words = [str(TESTS / "killed_encodings.py"), tmp_path / kind, autoencoder, number, world]
        words = [sys.executable, *map(str, words)]
        ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
        kills[kind] = ended.stdout.split()
    assert len(set(kills["killed"])) > 3, "killed at several places"
    for kind in ("killed", "shared"):
        assert files(tmp_path / kind / "latents") == files(tmp_path / "whole" / "latents")
    manifest = read_manifest(tmp_path / "killed" / "latents")
    rows = [load_file(tmp_path / "killed" / "latents" / shard.file) for shard in manifest.shards["train"]]
    assert torch.cat([each["index"] for each in rows]).tolist() == list(range(manifest.counts["train"]))


def test_a_full_disk_is_a_sentence(tmp_path: Path, autoencoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: dict, part: Path, *_: object) -> None:
        part.write_bytes(b"half")
        raise SafetensorError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        with pytest.raises(ValueError, match=r"train-00000.safetensors could not be written: No space left"):
            write_shard(tmp_path / "train-00000.safetensors", {"mean": torch.zeros(1, 2)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("shard_size", "patch"), [(16, 1), (1, 2)], ids=["some of a file", "all of a file"])
def test_pictures_that_cannot_be_read_are_left_out(tmp_path: Path, shard_size: int, patch: int) -> None:
    autoencoder = write_autoencoder(tmp_path / "autoencoder", patch=patch)
    node = {"name": "image_folder", "stream": True, **write_images(tmp_path / "pictures", each=12)}
    before = fg.data.registry.build_from(node)
    good = before.samples
    broken = sorted((tmp_path / "pictures" / "bee").iterdir())[:6]
    for file in broken:
        file.write_bytes(b"no picture")
    manifest = encoded(tmp_path, autoencoder, data=node, precision="float32", shard_size=shard_size)
    rows = [load_file(tmp_path / "latents" / shard.file) for shard in manifest.shards["train"]]
    index = torch.cat([each["index"] for each in rows])
    assert len(index) == len(index.unique()) == sum(shard.samples for shard in manifest.shards["train"])
    held = sum(shard.samples for shard in manifest.shards["test"])
    assert len(index) + held == 36 - len(broken)
    means = load_autoencoder(str(autoencoder), device="cpu").encode(good[index])[0]
    torch.testing.assert_close(torch.cat([each["mean"] for each in rows]), means)
    assert torch.equal(torch.cat([each["labels"] for each in rows]), before.labels[index])


def test_what_cannot_be_encoded_is_refused_before_anything_is_written(tmp_path: Path, autoencoder: Path) -> None:
    for changes, sentence in (
        ({"data": {"name": "moons"}}, r"moons \(train\) cannot be encoded: an autoencoder takes images"),
        ({"data": {**DATA, "size": 9}}, "sides are multiples of 2 pixels, not 3x9x9"),
        ({"data": {**DATA, "colours": False}}, "images of 3 channels, not of 1"),
        ({"data": {"name": "glyps"}}, "did you mean 'glyphs'"),
        ({"shard_size": 0}, "shard_size must be at least 1, not 0"),
        ({"precision": "float8"}, "must be one of 'float16', 'float32'"),
        ({"autoencoder": str(tmp_path / "nowhere")}, "nowhere does not exist: encode takes a run folder of an autoenc"),
        ({"autoencoder": str(tmp_path)}, "holds no autoencoder: encode takes a run folder"),
    ):
        with pytest.raises(ValueError, match=sentence):
            encoded(tmp_path, autoencoder, **changes)
    assert not (tmp_path / "latents").exists()
    (tmp_path / "latents").mkdir()
    (tmp_path / "latents" / ".tmp_of_mine").touch()
    with pytest.raises(ValueError, match="latents is not empty, and holds no latents"):
        encoded(tmp_path, autoencoder)
    assert list(files(tmp_path / "latents")) == [".tmp_of_mine"]


def test_another_work_in_the_same_folder_is_refused(tmp_path: Path, autoencoder: Path) -> None:
    encoded(tmp_path, autoencoder)
    before = files(tmp_path / "latents")
    other = write_autoencoder(tmp_path / "other", seed=1)
    for changes, sentence in (
        ({"autoencoder": str(other)}, "holds latents of another autoencoder"),
        ({"precision": "float32"}, r"holds latents of another precision \(float16, not float32\)"),
        ({"data": {**DATA, "count": 20}}, "holds latents of another data"),
    ):
        with pytest.raises(ValueError, match=sentence):
            encoded(tmp_path, autoencoder, **changes)
    assert files(tmp_path / "latents") == before


def test_latents_too_large_for_half_precision_say_so(tmp_path: Path) -> None:
    folder = write_autoencoder(tmp_path / "large")
    (file,) = (folder / "checkpoints").iterdir()
    tensors = {name: 1e6 * tensor for name, tensor in training.checkpoint.read_tensors(file).items()}
    training.checkpoint.write(file, tensors, training.checkpoint.read_meta(file))
    with pytest.raises(ValueError, match="not finite in float16; take precision=float32"):
        encoded(tmp_path, folder)


def test_a_folder_of_diffusers_encodes_and_decodes(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    torch.manual_seed(0)
    kind = fg.networks.registry.get("autoencoder_kl")
    theirs = kind(channels=3, latent_channels=2, widths=[4, 4], groups=2).eval()
    theirs.model.save_pretrained(tmp_path / "vae")
    manifest = encoded(tmp_path, tmp_path / "vae", precision="float32")
    assert (manifest.autoencoder, manifest.shape) == (theirs.digest, [2, 4, 4])
    images = fg.data.registry.build_from(DATA).samples
    latents = fg.data.build("latents", folder=str(tmp_path / "latents")).samples
    shutil.rmtree(tmp_path / "vae")  # the folder of latents has all that it takes
    decoded = training.Decoder(tmp_path / "latents")(latents)
    torch.testing.assert_close(decoded, theirs(images).images.clamp(-1, 1), rtol=1e-3, atol=1e-4)
