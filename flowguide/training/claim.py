"""One process at a time in a folder: who comes second waits.

A claim is the system's lock of a file in the folder. It ends with the process that holds it, however that ends, and its
workers do not inherit it.
"""

import logging
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # where there are no such locks
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)


class Claim:
    """The claim of this process to a folder.

    Args:
        folder: Which is there when it is taken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: int | None = None

    def take(self) -> None:
        """Wait, and say so, for as long as another process has it. Where nothing can be locked, all have it."""
        if fcntl is None or self._opened is not None:
            return
        try:
            self._opened = os.open(self.folder / ".claimed", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:  # of a folder that is only to be read
            return
        try:
            fcntl.lockf(self._opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            holder = os.read(self._opened, 32).decode(errors="replace").strip()
            log.warning("waiting for another process%s, which is at work in %s", holder and f" ({holder})", self.folder)
            fcntl.lockf(self._opened, fcntl.LOCK_EX)
        except OSError:  # of a file system without locks
            return
        os.ftruncate(self._opened, 0)
        os.pwrite(self._opened, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process have it."""
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None
