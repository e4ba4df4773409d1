"""Folders as diffusers saves them: tensors and config, in one file or several, and refusals."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import flowguide as fg
from flowguide.pretrained.folder import read_folder

STEM = "diffusion_pytorch_model"
TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.float16)}
CONFIG = {"_class_name": "Mine", "width": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def shards(folder: Path, ending: str) -> Path:
    """The tensors in one file each, and the index of them."""
    names = {}
    for n, (name, tensor) in enumerate(TENSORS.items(), start=1):
        names[name] = f"{STEM}-0000{n}-of-00002.{ending}"
        write = save_file if ending == "safetensors" else torch.save
        write({name: tensor}, folder / names[name])
    index = folder / f"{STEM}.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 28}, "weight_map": names}))
    return index


def check(found: tuple[Mapping[str, Tensor], Mapping]) -> None:
    tensors, config = found
    assert config == CONFIG
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())
    assert tensors["b"].dtype == torch.float16


@pytest.mark.parametrize("name", [f"{STEM}.safetensors", f"{STEM}.bin", f"{STEM}.fp16.safetensors"])
def test_one_file(folder: Path, name: str) -> None:
    (save_file if name.endswith("safetensors") else torch.save)(TENSORS, folder / name)
    check(read_folder(folder))
    check(read_folder(folder / name))


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_several_files_of_an_index(folder: Path, ending: str) -> None:
    index = shards(folder, ending)
    check(read_folder(folder))
    check(read_folder(index))


def test_the_safe_file_goes_first_and_a_named_one_before_it(folder: Path) -> None:
    save_file(TENSORS, folder / f"{STEM}.safetensors")
    save_file({"other": torch.zeros(1)}, folder / f"{STEM}.fp16.safetensors")
    (folder / f"{STEM}.bin").write_bytes(b"never looked at")
    check(read_folder(folder))
    assert list(read_folder(folder / f"{STEM}.fp16.safetensors")[0]) == ["other"]


def test_what_is_wrong_is_named(folder: Path) -> None:
    def refuse(words: str, path: Path = folder) -> None:
        with pytest.raises(ValueError, match=words) as caught:
            read_folder(path)
        assert "\n" not in str(caught.value)

    refuse("no folder .*absent, and no file", folder / "absent")
    refuse(f"should hold {STEM}.safetensors or .bin, .* and holds none")
    for variant in ("fp16", "ema"):
        save_file(TENSORS, folder / f"{STEM}.{variant}.safetensors")
    refuse(f"holds {STEM}.ema.safetensors, {STEM}.fp16.safetensors: name the file itself")
    index = shards(folder, "safetensors")
    for places, words in (
        ({"a.weight": "../config.json"}, "names the file ../config.json, which is not beside it"),
        ({"c": f"{STEM}-00001-of-00002.safetensors"}, "says that .* holds c, and it does not"),
        ({"a.weight": "gone.safetensors"}, "there is no file .*gone.safetensors"),
        ([], "has no weight_map"),
    ):
        index.write_text(json.dumps({"weight_map": places}))
        refuse(words, index)
    (folder / "config.json").write_text("[1]")
    refuse("config.json holds a list, and not entries by name")
    (folder / "config.json").write_text("{")
    refuse("config.json is no JSON")
    (folder / "config.json").unlink()
    refuse("no config.json in .*, which says what network its tensors are of$")
    (folder / "model_index.json").write_text("{}")
    refuse("of a whole pipeline, name the folder of the network in it")


def test_a_format_that_takes_a_config_is_given_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fg.pretrained.registry, "_components", dict(fg.pretrained.registry._components))

    @fg.pretrained.register("mine")
    def mine(tensors: Mapping[str, Tensor], config: Mapping, depth: int = 1) -> tuple:
        """Mine."""
        if depth < 0:
            raise ValueError(f"depth is not {depth}")
        return tensors, config

    save_file(TENSORS, folder / f"{STEM}.safetensors")
    check(fg.pretrained.read(folder, "mine"))
    assert list(fg.pretrained.registry.options("mine")) == ["depth"]
    with pytest.raises(ValueError, match="cannot be read as mine: depth is not -1"):
        fg.pretrained.read(folder, "mine", depth=-1)
    with pytest.raises(ValueError, match="is a folder, and what is read here is one file"):
        fg.pretrained.read(folder, "adm")
