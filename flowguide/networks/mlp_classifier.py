"""A residual perceptron that classifies noisy states of toys in a few dimensions."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .base import NoisyClassifier, networks
from .embedding import ConditionEmbedding
from .layers import check_positive, zero
from .mlp import Block, flattened


@networks.register("mlp_classifier")
class MLPClassifier(NoisyClassifier):
    """Classifier of noisy states: a residual perceptron; time scales and shifts every hidden layer.

    Args:
        dim: Entries of a sample, whatever its shape.
        num_classes: Number of labels.
        width: Hidden width.
        depth: Number of residual blocks.
    """

    def __init__(self, dim: int, num_classes: int, width: int = 128, depth: int = 3) -> None:
        super().__init__()
        sizes = {"dim": dim, "num_classes": num_classes, "width": width, "depth": depth}
        check_positive("an mlp_classifier", sizes)
        self.dim = dim
        self.num_classes = num_classes
        self.embed = ConditionEmbedding("mlp_classifier", 64, width)
        self.enter = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.leave = nn.Sequential(nn.LayerNorm(width), zero(nn.Linear(width, num_classes)))

    @classmethod
    def options_for(cls, shape: Sequence[int], num_classes: int | None) -> dict[str, Any]:
        if num_classes is None:
            raise ValueError("an mlp_classifier needs labels, and this data set has none")
        return {"dim": math.prod(shape), "num_classes": num_classes}

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        embedding = self.embed(t)
        hidden = self.enter(flattened("mlp_classifier", x, self.dim))
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return self.leave(hidden)
