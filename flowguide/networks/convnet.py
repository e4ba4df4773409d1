"""A small convolutional classifier, whose features the metrics are computed in."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .base import Classifier, networks
from .layers import group_norm


@networks.register("convnet")
class ConvNet(Classifier):
    """Convolutional classifier of clean images: logits for every label, and features before them.

    Args:
        channels: Image channels.
        num_classes: Number of labels.
        width: Channels of the first layer; two more double it.
        feature_dim: Width of the features.
        dropout: Dropout probability before the features.
    """

    def __init__(
        self, channels: int, num_classes: int, width: int = 32, feature_dim: int = 64, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.feature_dim = feature_dim
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((channels, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), group_norm(outputs), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(dropout))
        self.project = nn.Linear(16 * width, feature_dim)
        self.head = nn.Sequential(nn.SiLU(), nn.Linear(feature_dim, num_classes))

    @classmethod
    def options_for(cls, shape: Sequence[int], num_classes: int | None) -> dict[str, Any]:
        if len(shape) != 3 or num_classes is None:
            raise ValueError(f"a convnet takes labelled images, not {num_classes} classes of shape {tuple(shape)}")
        return {"channels": shape[0], "num_classes": num_classes}

    def features(self, x: Tensor) -> Tensor:
        return self.project(self.body(x))

    def classify(self, features: Tensor) -> Tensor:
        return self.head(features)
