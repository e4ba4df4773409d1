r"""Text encoders that Hugging Face's transformers reads: T5, CLIP, and those of sentences, BERT's kin.

What a caption's one vector is differs, and each is taken as it was published:

==========  =====================================================================================================
CLIP        the token at its end, through the projection to the space of images if the weights have one
T5          the mean of the tokens that are present; T5 has no vector of its own
sentences   as the folder says (``modules.json``): mean or first token, brought to length 1 or not; the mean if mute
==========  =====================================================================================================

Sources: Radford et al. (2021), arXiv 2103.00020 (CLIP); Raffel et al. (2019), arXiv 1910.10683 (T5); Reimers &
Gurevych (2019), arXiv 1908.10084 (sentences).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ...digest import digest_of, digest_of_tensors
from .base import Embedded, Encoder

_UNBOUNDED = 4096  # tokens, where neither the tokeniser nor the network names a bound


class Pretrained(Encoder):
    """A text encoder that transformers reads; frozen.

    Args:
        where: A folder, or a name on the hub.
        name: What the user called it, for messages.
    Raises:
        ValueError: if transformers is not installed, or there is no encoder or no tokeniser there.
    """

    def __init__(self, where: Path | str, name: str) -> None:
        self.name = name
        config, self.tokenizer = _config_and_tokenizer(where, name)
        self.kind = _kind_of(config, name)
        self.network, self.projects = _network(where, name, self.kind)
        self.network.eval().requires_grad_(False)
        own = self.network.config  # of the text alone, where a folder holds more
        self.width = int(own.hidden_size)
        self.first, self.unit = _pooling(where) if self.kind == "sentences" else (False, False)
        bounds = [self.tokenizer.model_max_length, getattr(own, "max_position_embeddings", None)]
        self.limit = min([bound for bound in bounds if bound and bound < _UNBOUNDED] or [_UNBOUNDED])
        self.pooled_width = int(own.projection_dim) if self.projects else self.width
        vocabulary = digest_of(sorted(self.tokenizer.get_vocab().items()))
        weights = digest_of_tensors(self.network.state_dict())
        self.digest = digest_of([weights, vocabulary, self.kind, self.projects, self.first, self.unit])

    def to(self, device: torch.device | str) -> "Pretrained":
        self.network.to(device)
        return self

    def count(self, captions: Sequence[str]) -> list[int]:
        # Without its bound the tokeniser has nothing to warn of: who cuts off says so.
        found = self.tokenizer(list(captions), truncation=False, verbose=False)
        return [len(each) for each in found["input_ids"]]

    @torch.no_grad()
    def embed(self, captions: Sequence[str], length: int) -> Embedded:
        options = {"padding": "max_length", "truncation": True, "max_length": length, "return_tensors": "pt"}
        given = self.tokenizer(list(captions), **options)
        device = next(self.network.parameters()).device
        ids, mask = given["input_ids"].to(device), given["attention_mask"].to(device)
        out = self.network(input_ids=ids, attention_mask=mask)
        tokens = out.last_hidden_state.float()
        return Embedded(tokens, mask.bool(), self._pooled(out, tokens, mask).float())

    def _pooled(self, out: Any, tokens: Tensor, mask: Tensor) -> Tensor:
        if self.kind == "clip":
            return out.text_embeds if self.projects else out.pooler_output
        weights = mask[..., None].to(tokens)
        pooled = tokens[:, 0] if self.first else (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)
        return normalize(pooled, dim=1) if self.unit else pooled


def _config_and_tokenizer(where: Path | str, name: str) -> tuple[Any, Any]:
    try:
        from transformers import AutoConfig, AutoTokenizer
    except ImportError as error:
        raise ValueError(
            f"the text encoder {name!r} needs transformers, which cannot be imported ({error}): "
            f"pip install 'flowguide[text]'"
        ) from None
    try:
        config = AutoConfig.from_pretrained(where)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"the text encoder {name} cannot be had: {_first_line(error)}") from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(where)
    except Exception as error:  # of any of the formats of tokenisers
        raise ValueError(
            f"the text encoder {name} has no tokeniser that transformers can read (tokenizer.json, vocab.txt, "
            f"spiece.model): {_first_line(error)}"
        ) from None
    return config, tokenizer


def _kind_of(config: Any, name: str) -> str:
    if config.model_type in ("clip", "clip_text_model"):
        return "clip"
    if config.model_type in ("t5", "mt5", "umt5"):
        return "t5"
    if config.is_encoder_decoder or not hasattr(config, "hidden_size"):
        raise ValueError(f"{name} is a {config.model_type}; text encoders are T5, CLIP, and encoders as BERT is one")
    return "sentences"


def _network(where: Path | str, name: str, kind: str) -> tuple[nn.Module, bool]:
    """The network, and whether it projects what it pools."""
    import transformers

    of = {"clip": "CLIPTextModelWithProjection", "t5": "T5EncoderModel", "sentences": "AutoModel"}
    options = {"use_safetensors": True, "output_loading_info": True}
    try:
        network, about = getattr(transformers, of[kind]).from_pretrained(where, **options)
        projects = kind == "clip" and not any("text_projection" in key for key in about["missing_keys"])
        if kind == "clip" and not projects:
            network, about = transformers.CLIPTextModel.from_pretrained(where, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"the weights of the text encoder {name} cannot be had: {_first_line(error)}") from None
    missing = [key for key in about["missing_keys"] if not key.startswith("pooler.")]  # which is not looked at
    if missing:
        raise ValueError(f"the weights of the text encoder {name} lack {missing[0]} ({len(missing)} in all)")
    return network, projects


def _pooling(where: Path | str) -> tuple[bool, bool]:
    """Whether a sentence is its first token, and whether it is brought to length 1."""
    modules, pooling = (_settings(where, file) for file in ("modules.json", "1_Pooling/config.json"))
    unit = any(str(each.get("type", "")).endswith("Normalize") for each in modules or [])
    return bool((pooling or {}).get("pooling_mode_cls_token")), unit


def _settings(where: Path | str, file: str) -> Any:
    """A file of settings beside the weights; None if there is none."""
    from transformers.utils import cached_file

    quiet = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors", "gated_repo")}
    found = cached_file(str(where), file, **quiet)
    return None if found is None else json.loads(Path(found).read_text())


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]
