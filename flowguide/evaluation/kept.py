"""Results that survive an interruption."""

import json
import os
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Kept:
    """Results on disk, by key, written after each one, so that an interrupted evaluation goes on where it stopped.

    Args:
        file: Where they are.
        writes: Whether this process writes it; of several that evaluate together one does.
    """

    def __init__(self, file: Path, writes: bool = True) -> None:
        self.file = file
        self.writes = writes
        try:
            self._rows = json.loads(file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            self._rows = {}

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __getitem__(self, key: str) -> Row:
        return self._rows[key]

    def __setitem__(self, key: str, row: Row) -> None:
        self._rows[key] = row
        if not self.writes:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(self._rows, indent=1))
        os.replace(part, self.file)
