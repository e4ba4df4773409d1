"""The GPU, and what the host waits for it for, by torch's own account."""

import warnings
from typing import Any

import torch


class GPU:
    """While it is entered, torch says whenever the host waits.

    Attributes:
        waits: The operations for which it did, in their order.
    """

    def __enter__(self) -> "GPU":
        self._catching = warnings.catch_warnings(record=True)
        self._caught = self._catching.__enter__()
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        return self

    def __exit__(self, *error: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")
        self._catching.__exit__(*error)

    @property
    def waits(self) -> list[str]:
        return [str(each.message) for each in self._caught if "synchronizing CUDA operation" in str(each.message)]
