"""A trained network on its path."""

from torch import Tensor

from ..networks import Network
from ..paths import KINDS, Kind, Path, Prediction
from .base import Field, check_labels


class NetworkField(Field):
    """A network and what its output means: a prediction of one kind, on one path.

    Args:
        network: Called as ``network(x, t, cond)``; owns its null condition.
        path: The path that it is trained on.
        predicts: The kind of its output: "velocity", "score", "noise" or "data".
    """

    def __init__(self, network: Network, path: Path, predicts: Kind = "velocity") -> None:
        super().__init__()
        if predicts not in KINDS:
            raise ValueError(f"a network predicts one of {', '.join(KINDS)}, not {predicts!r}")
        if not isinstance(network, Network):
            raise ValueError(
                f"a field needs a network that is called as network(x, t, cond), a subclass of fg.networks.Network; "
                f"{type(network).__name__} is none"
            )
        self.network = network
        self.path = path
        self.predicts = predicts
        self.num_classes = network.num_classes
        self._interval = path.interval(predicts)

    @property
    def t_min(self) -> float:
        return self._interval[0]

    @property
    def t_max(self) -> float:
        return self._interval[1]

    def null(self, batch: int) -> Tensor | None:
        return self.network.null(batch)

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        cond = self.null(len(x)) if cond is None else cond
        try:
            output = self.network(x, t, cond)
        except IndexError:
            # An embedding that was asked for a row it does not have; say which label, if that was it.
            if cond is not None and self.num_classes is not None:
                check_labels(cond, self.num_classes)
            raise
        return self.path.predict(self.predicts, output, x, t)
