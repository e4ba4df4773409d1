r"""A field whose conditions hold an image, where the images are given: what is left to ask for is the rest.

.. math:: \mathrm{given}(x, t, y)_i = \mathrm{field}(x_i, t, (c_i, y_i)), \qquad
    \mathrm{given}(x, t, \varnothing)_i = \mathrm{field}(x_i, t, (c_i, \varnothing)),

with the image :math:`c_i` of sample i and its label, or caption, :math:`y_i`. Guidance therefore acts on these while
the image stays, by any rule, as it does in the super-resolution stages of cascades.

Source: Saharia et al. (2022), arXiv 2205.11487, section 2 (guidance in the stages of Imagen).
"""

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..networks import Encoded, ImageNetwork
from ..paths import Prediction
from ..randomness import numbers_of
from .base import NO_NULL, Field
from .network_field import NetworkField
from .run import Run

Images = Tensor | Callable[[Run], Tensor]

_KEPT = 8  # conditions that a run keeps encoded


class Given(Field):
    """A network's field with the images of its conditions given.

    Args:
        field: Of a network whose conditions hold an image (``network.extra_channels``).
        images: Row i is that of sample i, shape (N, extra_channels, h, w); or a function that gives, for a run, those
            of its rows. A function is asked once per run, and what it gives must follow from the indices of the samples
            (``run.first``, ``run.count``) and their conditions.
    Raises:
        ValueError: if the network takes no image, or the images have other channels.
    """

    def __init__(self, field: NetworkField, images: Images) -> None:
        super().__init__()
        network = getattr(field, "network", None)
        if not getattr(network, "extra_channels", 0):
            raise ValueError(f"images are given to the field of a network with extra_channels, not to {field!r:.80}")
        if isinstance(images, Tensor):
            check_images(images, network.extra_channels)
        self.field, self.images = field, images
        self.path, self.shape = field.path, field.shape
        self.num_classes = None if field.told == "never" else network.labels
        always = field.told == "always" or network.conditioning.null(1) is None
        self.needs_condition = network.is_told and always
        self._run: Run | None = None
        self._rows: Tensor | None = None
        self._encoded: dict[tuple[bool, int], tuple[Tensor | None, Encoded]] | None = None

    @property
    def t_min(self) -> float:
        return self.field.t_min

    @property
    def t_max(self) -> float:
        return self.field.t_max

    @property
    def network(self) -> ImageNetwork:
        """Of the field."""
        return self.field.network

    def null(self, batch: int) -> Tensor | None:
        return self.field.network.conditioning.null(batch) if self.field.told == "sometimes" else None

    def conditions(self, given: Any = None, num: int = 1, num_classes: int | None = None) -> Tensor | None:
        return self.field.conditions(given, num, self.num_classes if num_classes is None else num_classes)

    def of(self, field: NetworkField) -> "Given":
        """Another field with the same images."""
        return Given(field, self.images)

    def for_run(self, run: Run) -> "Given":
        fresh = copy.copy(self)
        fresh._run, fresh._rows, fresh._encoded = run, self._rows_of(run), {}
        return fresh

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        return self.field.predict(x, t, self.encode(cond, len(x)))

    def encode(self, cond: Tensor | Encoded | None, batch: int) -> Encoded:
        if isinstance(cond, Encoded):
            return cond
        if self._encoded is None:
            return self._join(cond, batch)
        # By the tensor itself, which is kept, as a network's field does.
        key = (cond is None, batch if cond is None else id(cond))
        if key not in self._encoded:
            if len(self._encoded) == _KEPT:
                del self._encoded[next(iter(self._encoded))]
            self._encoded[key] = cond, self._join(cond, batch)
        return self._encoded[key][1]

    def _join(self, cond: Tensor | None, batch: int) -> Encoded:
        """The images of the rows with their conditions, or the null one, as the network has them."""
        if cond is None and self.needs_condition:
            raise ValueError(f"{NO_NULL}, so it predicts nothing without one: pass cond, one per sample")
        network = self.field.network
        rest = network.conditioning.null(batch) if cond is None else cond
        images = self._rows if self._run is not None else self.images
        if not isinstance(images, Tensor):
            raise ValueError("the images of this field are chosen for a run: sample it, or give it a tensor of images")
        if len(images) != batch:
            raise ValueError(f"there are images for {len(images)} samples here, and states of {batch}")
        device = next(network.parameters()).device
        return network.encode(network.join(images.to(device), rest))

    def _rows_of(self, run: Run) -> Tensor:
        if not isinstance(self.images, Tensor):
            return check_images(self.images(run), self.field.network.extra_channels)
        count = len(self.images) if run.count is None else run.count
        numbers = numbers_of(run.first, count, self.images.device)
        first, last = int(numbers.min()), int(numbers.max())
        if last >= len(self.images):
            raise ValueError(
                f"there are images for {len(self.images)} samples, and samples {first} to {last} are asked for"
            )
        return self.images[numbers]


def check_images(images: Tensor, channels: int) -> Tensor:
    """ValueError unless they are images of so many channels."""
    if images.ndim != 4 or images.shape[1] != channels:
        raise ValueError(f"this field takes images of shape (N, {channels}, h, w), not {tuple(images.shape)}")
    return images
