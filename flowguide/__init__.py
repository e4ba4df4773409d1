"""flowguide: guided flow-matching and score-SDE generative models.

Everything is imported when it is first used, so that ``import flowguide`` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PACKAGES = (
    "conditioners",
    "couplings",
    "data",
    "diagnostics",
    "fields",
    "guidance",
    "likelihood",
    "metrics",
    "networks",
    "objectives",
    "observations",
    "paths",
    "pretrained",
    "solvers",
    "training",
)
_NAMES = {
    "Field": "fields",
    "MixtureField": "fields",
    "NetworkField": "fields",
    "bits_per_dim": "likelihood",
    "load": "training",
    "load_pretrained": "pretrained",
    "log_likelihood": "likelihood",
    "oracle": "fields",
    "sample": "solvers",
}

__all__ = [*_PACKAGES, *_NAMES, "__version__"]

if TYPE_CHECKING:
    from . import (
        conditioners,
        couplings,
        data,
        diagnostics,
        fields,
        guidance,
        likelihood,
        metrics,
        networks,
        objectives,
        observations,
        paths,
        pretrained,
        solvers,
        training,
    )
    from .fields import Field, MixtureField, NetworkField, oracle
    from .likelihood import bits_per_dim, log_likelihood
    from .pretrained import load_pretrained
    from .solvers import sample
    from .training import load


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f".{name}", __name__)
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    raise AttributeError(f"module 'flowguide' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
