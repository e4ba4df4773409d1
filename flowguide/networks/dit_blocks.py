r"""What a diffusion transformer is made of: attention and a perceptron, modulated by time and label (adaLN-Zero).

.. math:: h \leftarrow h + \gamma_1 \, \mathrm{attention}(\alpha_1 \ast h), \qquad
    h \leftarrow h + \gamma_2 \, \mathrm{mlp}(\alpha_2 \ast h), \qquad
    (s, b) \ast h = \mathrm{norm}(h)\,(1 + s) + b,

where :math:`b_1, s_1, \gamma_1, b_2, s_2, \gamma_2`, in this order, are linear in silu(c), c the embedding of time
and label, and :math:`\alpha_i = (s_i, b_i)`. They start at zero, so every block starts as the identity. A sequence of
conditions is attended to between the two, :math:`h \leftarrow h + \mathrm{cross}(\mathrm{norm}(h), \mathrm{tokens})`,
and the last layer of that starts at zero.

Source: Peebles & Xie (2022), arXiv 2212.09748, section 3.2.
"""

import torch
from torch import Tensor, nn

from .layers import zero
from .transformer import Activation, Attention, FeedForward, Norm, norm_of


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """``x (1 + scale) + shift``."""
    return torch.addcmul(shift, x, 1 + scale)


class Block(nn.Module):
    """Attention, attention to a sequence of conditions if there is one, and a perceptron.

    Args:
        width, heads: Of the attention.
        hidden: Width within the perceptron.
        activation: Of the perceptron.
        norm: What normalises the tokens.
        qk_norm: Whether it normalises queries and keys too.
        cross: Whether there is a sequence to attend to.
        feed_epsilon: Of the norm before the perceptron.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        activation: Activation,
        norm: Norm,
        qk_norm: bool,
        cross: bool,
        feed_epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        normalised = norm if qk_norm else None
        self.norm = norm_of(norm, width)  # it has no parameters, and serves both kinds of attention
        self.feed_norm = norm_of(norm, width, epsilon=feed_epsilon)
        self.attention = Attention(width, heads, normalised)
        self.cross = Attention(width, heads, normalised, cross=True) if cross else None
        self.feed = FeedForward(width, hidden, activation)
        self.modulate = nn.Linear(width, 6 * width)

    def initialise(self) -> None:
        """What has to start at zero."""
        zero(self.modulate)
        if self.cross is not None:
            zero(self.cross.leave)

    def forward(
        self,
        x: Tensor,
        embedding: Tensor,
        rotation: Tensor | None = None,
        memory: Tensor | None = None,
        present: Tensor | None = None,
    ) -> Tensor:
        """Tokens (B, N, W) to tokens; ``embedding`` (B, W), or (1, W), comes after its silu."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulate(embedding)[:, None].chunk(6, dim=2)
        x = torch.addcmul(x, gate1, self.attention(modulated(self.norm(x), shift1, scale1), rotation))
        if self.cross is not None:
            x = x + self.cross(self.norm(x), None, memory, present)
        return torch.addcmul(x, gate2, self.feed(modulated(self.feed_norm(x), shift2, scale2)))


class Final(nn.Module):
    """``W modulated(norm(x))``, which starts at zero."""

    def __init__(self, width: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.norm = norm_of(norm, width)
        self.modulate = nn.Linear(width, 2 * width)
        self.leave = nn.Linear(width, outputs)

    def initialise(self) -> None:
        """What has to start at zero: all of it."""
        zero(self)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        shift, scale = self.modulate(embedding)[:, None].chunk(2, dim=2)
        return self.leave(modulated(self.norm(x), shift, scale))
