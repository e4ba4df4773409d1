"""The reference and the features of an evaluation: made once for several evaluations in a row that share them."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from ..digest import digest_of
from .features import Features, Setting, registry
from .reference import Reference, reference_of


class View:
    """The reference through the eyes of features; each part is made when it is first asked for.

    Args:
        reference: Node of a data set.
        features: Node of the features.
        classifier: Network, objective, training and seed nodes of a classifier of it.
        device: Where to compute.
        show: Show a progress bar of what takes long.
    """

    def __init__(
        self,
        reference: Mapping[str, Any],
        features: Mapping[str, Any],
        classifier: Mapping[str, Any],
        device: str = "auto",
        show: bool = True,
    ) -> None:
        self._reference, self._features = reference, features
        self._classifier, self._device, self._show = classifier, device, show

    @property
    def key(self) -> str:
        """What it is made of."""
        return digest_of([dict(self._reference), dict(self._features), self._classifier, self._device])

    @cached_property
    def setting(self) -> Setting:
        """With both splits of the data set."""
        return Setting.of(self._reference, self._classifier, self._device, self._show)

    @cached_property
    def features(self) -> Features:
        """What samples are turned into."""
        return registry.build_from(self._features, self.setting)

    @cached_property
    def real(self) -> Reference:
        """What they see in the data set."""
        return reference_of(self.features)


class Views:
    """Keeps the latest view, for the next evaluation if that wants the same."""

    def __init__(self) -> None:
        self._latest: View | None = None

    def __call__(self, *made_of: Any) -> View:
        """The latest view, if it is made of this (see :class:`View`); otherwise a new one."""
        view = View(*made_of)
        if self._latest is None or self._latest.key != view.key:
            self._latest = view
        return self._latest
