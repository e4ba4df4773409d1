"""What the tests of the command line share."""

from collections.abc import Callable
from typing import NamedTuple

TINY = [
    "training.steps=3",
    "training.batch_size=8",
    "data.count=16",
    "network.width=8",
    "network.depth=1",
    "device=cpu",
]


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one sentence that a mistake is answered with."""
        lines = [line for line in self.err.splitlines() if line.startswith("flowguide: ")]
        assert self.code == 2, self
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0].removeprefix("flowguide: ")


Run = Callable[..., Ended]
