"""Where things are kept that can always be made again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """$FLOWGUIDE_CACHE, or flowguide in the user's cache."""
    if "FLOWGUIDE_CACHE" in os.environ:
        return Path(os.environ["FLOWGUIDE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "flowguide"
