"""Features: what each says and gives, what it refuses, and that what it saw in real data is kept by what they are."""

import logging
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

import flowguide as fg
from flowguide.data import Dataset
from flowguide.evaluation import features, reference_of
from flowguide.evaluation.checks import check_needs, check_reference
from flowguide.evaluation.features import Setting
from flowguide.evaluation.features.base import as_bytes


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOWGUIDE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pictures(channels: int = 3, count: int = 6, size: int = 28, seed: int = 0) -> Dataset:
    data = torch.randint(256, (count, channels, size, size), dtype=torch.uint8, generator=fixed(seed))
    return Dataset("pictures (train)", data, torch.arange(count) % 2, 2)


def fixed(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def setting(dataset: Dataset) -> Setting:
    return Setting({"name": "pictures"}, dataset, replace(dataset, name="pictures (test)"), {}, "cpu", False)


class Means(features.Features):
    """The mean of each channel, and how often it was asked."""

    asked = 0

    def __init__(self, setting: Setting, digest: str = "means") -> None:
        super().__init__(setting)
        self.digest = digest

    def caption(self, held_out: fg.metrics.Seen) -> str:
        return "means"

    def look(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        type(self).asked += 1
        return samples.mean((2, 3)), samples.amax((2, 3))


def test_identity_is_the_data() -> None:
    given = pictures()
    found = features.build("identity", setting(given)).see(given.samples, given.labels)
    assert torch.equal(found.features, given.samples.flatten(1))
    assert torch.equal(found.labels, given.labels)
    assert found.logits is None


def test_what_is_seen_of_real_data_is_kept(cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    """By the data and the features; reuse is in the log, and a damaged file is made again."""
    monkeypatch.setattr(Means, "asked", 0)
    caplog.set_level(logging.INFO, "flowguide")
    first = reference_of(Means(setting(pictures())))
    assert Means.asked == 2
    assert first.train.held_out is first.test
    assert not caplog.messages
    again = reference_of(Means(setting(pictures())))
    assert Means.asked == 2
    assert [message.partition(", ")[0] for message in caplog.messages] == [
        "reference: pictures (train) was seen before",
        "reference: pictures (test) was seen before",
    ]
    assert again.digest == first.digest
    for name in ("features", "logits", "labels"):
        assert torch.equal(getattr(again.train, name), getattr(first.train, name))
    for other in (Means(setting(pictures(seed=1))), Means(setting(pictures()), "others")):
        before = Means.asked
        reference_of(other)
        assert Means.asked == before + 2
    for file in cache.iterdir():
        file.write_bytes(b"no tensors")
    before = Means.asked
    assert torch.equal(reference_of(Means(setting(pictures()))).train.features, first.train.features)
    assert Means.asked == before + 2
    assert "is damaged, and made again" in caplog.text


def test_broken_real_data_are_named() -> None:
    data = torch.zeros(4, 3, 8, 8)
    data[2, 0, 0, 0] = float("nan")
    broken = Dataset("pictures (train)", data, torch.arange(4) % 2, 2)
    with pytest.raises(
        ValueError, match=r"the reference, pictures \(train\): 1 of 4 images hold infinite or NaN pixels"
    ):
        reference_of(Means(setting(broken)))


def test_a_reference_of_another_resolution_is_refused() -> None:
    check_reference(pictures(), (3, 28, 28), 2, "runs/x")
    with pytest.raises(ValueError, match=r"at another resolution: .* 3x28x28, and runs/x makes 3x32x32; give one of"):
        check_reference(pictures(), (3, 32, 32), 2, "runs/x")


def test_a_reference_without_one_of_the_classes_is_refused() -> None:
    named = replace(pictures(), num_classes=4, classes=["cat", "dog", "cow", "pig"])
    with pytest.raises(
        ValueError, match=r"holds no sample of class 2 \(cow\), 3 \(pig\), and samples are drawn of all 4"
    ):
        check_reference(named, (3, 28, 28), 4, "runs/x")
    check_reference(named, (3, 28, 28), None, "runs/x")


def test_metrics_that_features_cannot_serve_are_refused() -> None:
    """Before anything is sampled."""
    means, identity = Means(setting(pictures())), features.build("identity", setting(pictures()))
    means.gives = ("logits",)
    accuracy, score = (fg.metrics.build(name) for name in ("label_accuracy", "inception_score"))
    check_needs({"inception_score": score}, means, "means", None)
    with pytest.raises(
        ValueError, match="'label_accuracy' needs a classifier of the data's own labels, which the feat"
    ):
        check_needs({"label_accuracy": accuracy}, means, "means", 2)
    with pytest.raises(
        ValueError, match="'inception_score' needs a classifier's logits, which the features 'identity'"
    ):
        check_needs({"inception_score": score}, identity, "identity", 2)
    means.gives = ("logits", "labels")
    with pytest.raises(ValueError, match="'label_accuracy' needs labels, and the run has none"):
        check_needs({"label_accuracy": accuracy}, means, "means", None)


@pytest.mark.parametrize("name", ["inception", "dinov2", "classifier"])
def test_features_of_images_refuse_points(name: str) -> None:
    points = Dataset("moons (train)", torch.zeros(4, 2), torch.arange(4) % 2, 2)
    with pytest.raises(
        ValueError, match=r"features are of .*images, and moons \(train\) holds 2: take features=identity"
    ):
        features.build(name, setting(points))


@pytest.mark.parametrize(("name", "module"), [("inception", "torch_fidelity"), ("dinov2", "transformers")])
def test_a_missing_extra_is_named(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    extra = {"inception": "fid"}.get(name, name)
    with pytest.raises(ValueError, match=rf"'{name}' need .* cannot be imported .*pip install 'flowguide\[{extra}\]'"):
        features.build(name, setting(pictures()))


def test_bytes_of_images() -> None:
    grey = torch.tensor([-1.2, -1.0, 0.0, 1.0, 1.2]).reshape(1, 1, 1, 5)
    assert as_bytes(grey).shape == (1, 3, 1, 5)
    assert as_bytes(grey)[0, 2, 0].tolist() == [0, 0, 128, 255, 255]
    given = pictures()
    assert torch.equal(as_bytes(given.samples), given.data)


class Extractor(nn.Module):
    """Stands in for torch-fidelity's, with its face."""

    def __init__(self, name: str, wanted: list[str], weights: str | None) -> None:
        super().__init__()
        assert (name, wanted) == ("inception-v3-compat", ["2048", "logits_unbiased"])
        if weights is None:
            raise OSError("no network\nmore")
        self.load_state_dict(torch.load(weights))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        return images.double().mean((2, 3)), images.double().amax((2, 3))


def test_inception_sees_bytes_and_reads_tensors_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    inner.FeatureExtractorInceptionV3 = Extractor
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, inner.__name__, inner)
    given, weights = pictures(channels=1), tmp_path / "weights.pth"
    with pytest.raises(ValueError, match=r"there is no file .*weights\.pth"):
        features.build("inception", setting(given), weights=str(weights))
    weights.write_bytes(b"\x80\x02cposix\nsystem\n.")
    with pytest.raises(ValueError, match="is not a file of tensors alone"):
        features.build("inception", setting(given), weights=str(weights))
    torch.save({}, weights)
    found = features.build("inception", setting(given), weights=str(weights))
    seen = found.see(given.samples, given.labels)
    torch.testing.assert_close(seen.features, given.data.double().mean((2, 3)).expand(-1, 3))
    assert seen.logits.shape == (6, 3)
    assert found.resize == "bilinear as in TensorFlow 1, to 299x299"
    with pytest.raises(ValueError, match=r"cannot be had: no network; give a file, features\.weights="):
        features.build("inception", setting(given))


def test_dinov2_of_a_local_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    options = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28}
    torch.manual_seed(0)
    network = transformers.Dinov2Model(transformers.Dinov2Config(**options, patch_size=14)).eval()
    network.save_pretrained(tmp_path)
    given = pictures()
    found = features.build("dinov2", setting(given), weights=str(tmp_path), size=28)  # as they are
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    shown = (given.data / 255 - mean[:, None, None]) / deviation[:, None, None]
    with torch.no_grad():
        expected = network(shown).last_hidden_state[:, 0]
    torch.testing.assert_close(found.see(given.samples, given.labels).features, expected, rtol=1e-4, atol=1e-4)
    larger = features.build("dinov2", setting(given), weights=str(tmp_path), size=56)
    assert larger.resize == "bicubic, antialiased, to 56x56"
    assert larger.digest != found.digest
    with pytest.raises(ValueError, match="must be a multiple of the network's patches, 14, not 30"):
        features.build("dinov2", setting(given), weights=str(tmp_path), size=30)
    with pytest.raises(ValueError, match=r"the weights of 'dinov2', .*nowhere, cannot be had"):
        features.build("dinov2", setting(given), weights=str(tmp_path / "nowhere"))
