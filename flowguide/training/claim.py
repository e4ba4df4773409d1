"""One process at a time in a folder: who comes second waits.

A claim is the system's lock of a file in the folder. It ends with the process that holds it, however that ends, and its
workers do not inherit it.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # where there are no such locks
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

NAME = ".claimed"


class Claim:
    """The claim of this process to a folder.

    Args:
        folder: Which is there when it is taken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: BinaryIO | None = None

    def take(self) -> None:
        """Wait, and say so, for as long as another process has it. Where nothing can be locked, all have it."""
        if fcntl is None or self._file is not None:
            return
        place = self.folder / NAME
        try:
            while self._file is None or not _is_at(self._file, place):  # who had it may have removed it
                self._file = place.open("a+b", buffering=0)
                self._lock(self._file)
        except OSError:  # of a folder that is only to be read, or of a file system without locks
            return
        with suppress(OSError):  # on a full disk no one learns who has it
            self._file.truncate(0)
            self._file.write(f"{os.getpid()}\n".encode())

    def _lock(self, file: BinaryIO) -> None:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            holder = file.read().decode(errors="replace").strip()
            log.warning("waiting for another process%s, which is at work in %s", holder and f" ({holder})", self.folder)
            fcntl.lockf(file, fcntl.LOCK_EX)

    def release(self) -> None:
        """Let another process have it."""
        if self._file is not None:
            with suppress(OSError):
                (self.folder / NAME).unlink(missing_ok=True)
            self._file.close()
            self._file = None


def _is_at(file: BinaryIO, place: Path) -> bool:
    """Whether the file is the one that has that name now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), place.stat())
    except FileNotFoundError:
        return False
