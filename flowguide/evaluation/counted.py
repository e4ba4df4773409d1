"""How often the networks of a rule are evaluated."""

from typing import Any

from torch import nn

from ..networks import Network, NoisyClassifier


class Evaluations:
    """Counts, while it is entered, the samples that the networks of a rule are shown."""

    def __init__(self, rule: nn.Module) -> None:
        self.networks = [each for each in rule.modules() if isinstance(each, (Network, NoisyClassifier))]
        self.samples = 0

    def __enter__(self) -> "Evaluations":
        self._hooks = [network.register_forward_pre_hook(self._count) for network in self.networks]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _count(self, network: nn.Module, arguments: tuple[Any, ...]) -> None:
        self.samples += len(arguments[0])
