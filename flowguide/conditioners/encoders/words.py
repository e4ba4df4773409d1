r"""Words by their hashes: an encoder that knows no meaning and needs no library.

.. math:: h_i = z(\text{word}_i), \qquad z(\cdot) \sim N(0, I)\ \text{fixed by the hash of the word}, \qquad
    e = \sum_i h_i / \sqrt{n}.

Two captions are as close as they have words in common: enough where captions are made of few words, as those of drawn
letters are. The order of the words is lost in the pooled embedding.

Source: random projections of bags of words, Achlioptas (2003), J. Computer and System Sciences 66; hashing, Weinberger
et al. (2009), arXiv 0902.2206.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from .base import Embedded, Encoder, encoders

_WIDTH = 64


@encoders.register("words")
class Words(Encoder):
    """Each word a fixed random vector, by its hash; knows no meaning and needs no library."""

    width = pooled_width = _WIDTH
    limit = 512
    digest = f"words by hash, {_WIDTH}, 1"

    def count(self, captions: Sequence[str]) -> list[int]:
        return [len(_words(caption)) for caption in captions]

    def embed(self, captions: Sequence[str], length: int) -> Embedded:
        tokens = torch.zeros(len(captions), length, _WIDTH)
        present = torch.zeros(len(captions), length, dtype=torch.bool)
        for row, caption in enumerate(captions):
            words = _words(caption)[:length]
            present[row, : len(words)] = True
            for place, word in enumerate(words):
                tokens[row, place] = _vector(word)
        return Embedded(tokens, present, tokens.sum(1) / present.sum(1, keepdim=True).clamp(min=1).sqrt())


def _words(caption: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", caption.lower())


@lru_cache(maxsize=4096)
def _vector(word: str) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:7], "big")
    return torch.randn(_WIDTH, generator=torch.Generator().manual_seed(seed))
