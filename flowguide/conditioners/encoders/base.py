"""What every text encoder has in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...registry import Registry

encoders = Registry("text encoder")


class Embedded(NamedTuple):
    """Captions as an encoder gives them.

    Attributes:
        tokens: Shape (B, L, C), float32.
        present: Which of them are tokens of the caption, and not padding; shape (B, L), bool.
        pooled: One vector for each caption, shape (B, E), float32.
    """

    tokens: Tensor
    present: Tensor
    pooled: Tensor


class Encoder(ABC):
    """Turns captions into embeddings, always the same ones.

    Attributes:
        width: C, of a token.
        pooled_width: E, of the one vector.
        limit: The most tokens that it takes.
        digest: Of all that the embeddings depend on: other weights have another.
    """

    width: int
    pooled_width: int
    limit: int
    digest: str

    @abstractmethod
    def count(self, captions: Sequence[str]) -> list[int]:
        """How many tokens each caption has, with those that mark its ends, before anything is cut off."""

    @abstractmethod
    def embed(self, captions: Sequence[str], length: int) -> Embedded:
        """The captions, each cut off after ``length`` tokens and filled up to that many."""

    def to(self, device: torch.device | str) -> "Encoder":
        """The same, which computes there, if it computes."""
        return self
