"""Captions through an encoder of words, which needs no library: table, cache, asking, and what is cut off."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from flowguide import conditioners, data
from flowguide.conditioners import encoders

CAPTIONS = ["a red A", "a blue B", "a red A", "a green C on white"]


class Counting(encoders.Encoder):
    """The encoder of words, which notes what it is asked to embed."""

    width = pooled_width = 64
    limit = 9
    digest = "counting"
    seen: list[str] = []

    def __init__(self) -> None:
        self.words = encoders.build("words")

    def count(self, captions: Sequence[str]) -> list[int]:
        return self.words.count(captions)

    def embed(self, captions: Sequence[str], length: int) -> encoders.Embedded:
        self.seen.extend(captions)
        return self.words.embed(captions, length)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The captions that are embedded, with a cache that is empty."""
    monkeypatch.setenv("FLOWGUIDE_CACHE", str(tmp_path))
    monkeypatch.setattr(Counting, "seen", [])
    monkeypatch.setitem(encoders.registry._components, "counting", Counting)
    return Counting.seen


def captioned(captions: Sequence[str] | None = CAPTIONS, **about: object) -> data.Dataset:
    count = len(CAPTIONS if captions is None else captions)
    return data.Dataset("letters (train)", torch.arange(float(count))[:, None], captions=captions, **about)


def ask(given: object, num: int = 2, **options: object) -> torch.Tensor:
    conditioner = conditioners.build("text", encoder="counting", **options)
    return conditioner.ask(given, conditioners.Asked(num, None, lambda split: captioned(CAPTIONS[1:])))


def test_a_cache_that_cannot_be_written_costs_no_run(seen: list[str], tmp_path: Path, monkeypatch, caplog) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FLOWGUIDE_CACHE", str(tmp_path / "file"))
    assert len(ask("a red A")) == 2
    assert "their embeddings cannot be kept in" in caplog.text


@pytest.mark.parametrize("tokens", [False, True])
def test_every_caption_is_embedded_once_and_kept(seen: list[str], tokens: bool) -> None:
    dataset = captioned(labels=torch.tensor([0, 1, 0, 2]), num_classes=3, classes=("A", "B", "C"))
    options = {"encoder": "counting", "tokens": tokens, "max_length": 6}
    prepared, tell = conditioners.build("text", **options).prepare(dataset)
    assert seen == ["a red A", "a blue B", "a green C on white", ""]
    points, rows = prepared.batch(torch.tensor([2, 3, 0]))
    told = tell(points, rows, torch.Generator())
    assert told.shape == ((3, 6, 64) if tokens else (3, 64))
    assert_close(told[0], told[2], equal_nan=True)
    again, retell = conditioners.build("text", **options).prepare(dataset)
    assert len(seen) == 4
    assert_close(retell(*again.batch(torch.tensor([2, 3, 0])), torch.Generator()), told, equal_nan=True)
    assert_close(ask(["a red A", "a red A"], tokens=tokens, max_length=6), told[[0, 2]], equal_nan=True)
    assert len(seen) == 4
    ask("a red A", tokens=tokens, max_length=5)
    assert len(seen) == 5, "of another length, and so another embedding"


def test_pooled_embeddings_are_of_unit_size_and_tokens_are_marked(seen: list[str]) -> None:
    pooled = ask(["a red A", "on"])
    assert_close(pooled.square().mean(1), torch.ones(2))
    tokens = ask(["a red A", "on"], tokens=True)
    assert tokens.shape == (2, 9, 64)
    present = ~tokens[..., 0].isnan()
    assert present.sum(1).tolist() == [3, 1]
    assert_close(tokens[0, 0] + tokens[0, 1] + tokens[0, 2], (pooled[0] * tokens[0, :3].sum(0).square().mean().sqrt()))


def test_null_is_the_empty_caption(seen: list[str]) -> None:
    conditioner = conditioners.build("text", encoder="counting", tokens=True)
    assert_close(conditioner.null(), ask("", 1, tokens=True)[0], equal_nan=True)
    assert seen == [""]
    assert ask("", 1).abs().max() == 0


def test_the_default_is_the_test_split_in_turn(seen: list[str]) -> None:
    assert_close(ask(None, 4), ask([*CAPTIONS[1:], CAPTIONS[1]], 4))


def test_long_captions_are_cut_off_and_one_sentence_says_so(seen: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="flowguide"):
        conditioner = conditioners.build("text", encoder="counting", max_length=3)
        prepared, tell = conditioner.prepare(captioned())
    told = tell(*prepared.batch(torch.arange(4)), torch.Generator())
    assert_close(told[3], ask("a green C", max_length=3)[0])
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 3 captions are longer than max_length=3 tokens, and are cut off; the first: 'a green C on white'"
    ]


def test_a_damaged_file_is_made_again_and_a_stranger_s_is_left(seen: list[str], tmp_path: Path) -> None:
    first = ask(["a red A", "a blue B"])
    (file,) = tmp_path.glob("captions-*/*.safetensors")
    file.write_bytes(b"nothing")
    stranger = file.with_name("stranger.safetensors")
    stranger.write_bytes(b"")
    assert_close(ask(["a red A", "a blue B"]), first)
    assert len(seen) == 4
    assert_close(ask(["a blue B", "a red A"]), first[[1, 0]])
    assert len(seen) == 4
    assert stranger.read_bytes() == b""


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"encoder": "/no/where"}, "there is no folder /no/where"),
        ({"encoder": "./nowhere"}, "there is no folder ./nowhere"),
        ({"encoder": "counting", "max_length": 10}, "the text encoder counting takes 9 tokens, not 10"),
        ({"encoder": "counting", "max_length": 0}, "max_length is a number of tokens"),
    ],
)
def test_mistakes_in_options(seen: list[str], options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        conditioners.build("text", **options).prepare(captioned())


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (3, "told captions: cond='a red letter B', or a list of them, not 3"),
        ({"letter": "B"}, "told captions"),
        (["a red A", 7], "told captions.*not 7"),
        (["a red A"] * 3, "cond lists 3 captions for num=2 samples"),
    ],
)
def test_mistakes_in_what_is_asked(seen: list[str], given: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ask(given)


def test_data_without_captions(seen: list[str]) -> None:
    with pytest.raises(ValueError, match=r"tells captions, and letters .train. has none"):
        conditioners.build("text", encoder="counting").prepare(captioned(None))


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ValueError, match=r"needs transformers.*pip install 'flowguide\[text\]'"):
        encoders.open_encoder(str(tmp_path))


def test_words_in_common_make_captions_close() -> None:
    words = encoders.build("words")
    a, b, c = torch.nn.functional.normalize(words.embed(["A red letter.", "a red digit", "white noise"], 9).pooled)
    assert float(a @ b) > 0.5 > float(a @ c) + 0.2
