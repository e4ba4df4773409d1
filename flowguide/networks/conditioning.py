r"""What a network is conditioned on: labels, an embedding or a sequence of them for each sample, and what means "none".

.. math:: (B,) \text{ labels} \to (B, W), \qquad (B, E) \text{ embeddings} \to (B, W), \qquad
    (B, L, C) \text{ sequences} \to (B, L, W) \text{ tokens, and which of them are present}.

Labels choose rows of a learned table; embeddings (of a caption, say, or of another image) go through a perceptron, and
so does every token of a sequence. None of that depends on x or t: it is what :meth:`Conditioning.encode` computes once
for all steps of a sampling run.

Conditions are one tensor whatever their kind, so that they can be dropped per sample, put into batches and kept. The
tokens that a mask leaves out of a sequence are therefore marked in it, as NaN: :func:`masked` makes such a sequence.

Source: Peebles & Xie (2022), arXiv 2212.09748, section 3.2 (labels); Chen et al. (2023), arXiv 2310.00426, section 2.3
(a perceptron before sequences); Ho & Salimans (2022), arXiv 2207.12598 (the null condition).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .encoded import Encoded


class Conditioning(nn.Module):
    """Conditions of one kind, made vectors or tokens of a network's width.

    Args:
        owner: Whose it is, for messages: "dit".
        width: Of the vectors and tokens that it makes.
        num_classes: Number of labels, for conditions (B,). The label ``num_classes`` is null.
        embedding: Their width E, for conditions (B, E). Null is the buffer ``absent``, zeros unless set.
        sequence: Their length and width [L, C], for conditions (B, L, C). Null likewise.
        null_label: Whether there is a row for the null label.
    Raises:
        ValueError: if they are of two kinds, or a size is no size.

    Attributes:
        kind: What the conditions are: "labels", "embeddings", "sequences", or None if there are none.
        shape: Of one embedding or sequence; () otherwise.
    """

    def __init__(
        self,
        owner: str,
        width: int,
        num_classes: int | None = None,
        embedding: int | None = None,
        sequence: Sequence[int] | None = None,
        null_label: bool = True,
    ) -> None:
        super().__init__()
        kinds = {"num_classes": num_classes, "embedding": embedding, "sequence": sequence}
        given = [name for name, value in kinds.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"a {owner} takes conditions of one kind: set {given[0]} or {given[1]} and not both")
        if num_classes is not None and num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, or null for no labels, not {num_classes}")
        if embedding is not None and embedding < 1:
            raise ValueError(f"embedding is the width of a {owner}'s conditions, at least 1, not {embedding}")
        if sequence is not None and (len(sequence) != 2 or min(sequence) < 1):
            raise ValueError(f"sequence is the length and width of a {owner}'s conditions, [77, 768], not {sequence}")
        self.owner = owner
        self.num_classes = num_classes
        words = {"num_classes": "labels", "embedding": "embeddings", "sequence": "sequences"}
        self.kind = words[given[0]] if given else None
        self.shape = tuple(sequence or ()) if embedding is None else (embedding,)
        self.null_label = null_label
        self.label = None if num_classes is None else nn.Embedding(num_classes + null_label, width)
        self.project = None
        if self.shape:
            activation = nn.GELU("tanh") if self.kind == "sequences" else nn.SiLU()
            self.project = nn.Sequential(nn.Linear(self.shape[-1], width), activation, nn.Linear(width, width))
            self.register_buffer("absent", torch.zeros(self.shape))

    def null(self, batch: int) -> Tensor | None:
        """The condition that means "none given", one row per sample; None if there is none that does."""
        if self.label is not None and self.null_label:
            return torch.full((batch,), self.num_classes, device=self.label.weight.device)
        return self.absent.expand(batch, *self.shape) if self.shape else None

    def set_null(self, condition: Tensor) -> None:
        """Make ``condition``, an embedding (E,) or a sequence (L, C), the null one: that of the empty caption, say."""
        self.check(condition[None])
        self.absent.copy_(condition.detach())

    def check(self, cond: Tensor) -> None:
        """ValueError unless ``cond`` is of this kind and shape. It looks at no value, so that no GPU has to wait."""
        if self.kind is None:
            raise ValueError(f"this {self.owner} takes no conditions: cond must be None, not {_shown(cond)}")
        if not isinstance(cond, Tensor):
            raise ValueError(f"this {self.owner} takes {self.kind} as a tensor with a row per sample, not {cond!r:.80}")
        if self.label is not None:
            if cond.dtype not in (torch.int64, torch.int32) or cond.ndim != 1:
                raise ValueError(f"this {self.owner} takes labels, integers of shape (B,), not {_shown(cond)}")
        elif not cond.is_floating_point() or tuple(cond.shape[1:]) != self.shape:
            wanted = ", ".join(map(str, ("B", *self.shape)))
            raise ValueError(f"this {self.owner} takes {self.kind} of shape ({wanted}), not {_shown(cond)}")

    def encode(self, cond: Tensor) -> Encoded:
        """Labels and embeddings as [vectors (B, W)]; sequences as [tokens (B, L, W), present (B, L)].

        A sequence of absent tokens alone has its first one present, as zeros: attention needs one to look at.

        Raises:
            ValueError: if the conditions are of another kind or shape, or a label is none of the classes.
        """
        self.check(cond)
        if self.label is not None:
            try:
                return Encoded([self.label(cond)])
            except IndexError:  # raised on a CPU; to look before would make a GPU wait
                raise ValueError(unknown_label(cond, self.num_classes, self.null_label)) from None
        if self.kind == "embeddings":
            return Encoded([self.project(cond)])
        absent = cond[..., 0].isnan()
        tokens = self.project(cond.masked_fill(absent[..., None], 0.0))
        first = torch.arange(cond.shape[1], device=cond.device) == 0
        return Encoded([tokens, ~absent | (first & absent.all(1, keepdim=True))])

    def initialise(self, std: float = 0.02) -> None:
        """Weights normal with standard deviation ``std``, and biases 0, as published for embeddings."""
        for name, parameter in self.named_parameters():
            nn.init.normal_(parameter, std=0.0 if name.endswith("bias") else std)


def masked(sequence: Tensor, mask: Tensor) -> Tensor:
    """The sequences (B, L, C) with the tokens where ``mask`` (B, L) is false, or 0, marked as absent."""
    if sequence.ndim != 3 or mask.shape != sequence.shape[:2]:
        raise ValueError(
            f"a mask has one entry per token, shape (B, L) for sequences (B, L, C), not {tuple(mask.shape)} for "
            f"{tuple(sequence.shape)}"
        )
    return sequence.masked_fill(~mask.bool()[..., None], math.nan)


def _shown(cond: object) -> str:
    if not isinstance(cond, Tensor):
        return f"{cond!r:.80}"
    return f"{str(cond.dtype).removeprefix('torch.')} of shape {tuple(cond.shape)}"


def unknown_label(labels: Tensor, num_classes: int, null: bool = True) -> str | None:
    """A sentence about the first label that is no class, nor the null label if there is one; None if all are."""
    wrong = labels[(labels < 0) | (labels >= num_classes + null)]
    if not len(wrong):
        return None
    first, none = int(wrong[0]), f" (or {num_classes}, which means no label)" if null else ""
    return (
        f"label {first} is not one of the {num_classes} classes 0 to {num_classes - 1}{none}; the nearest is "
        f"{0 if first < 0 else num_classes - 1}"
    )
