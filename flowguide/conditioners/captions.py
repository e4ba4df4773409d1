"""Embeddings of captions, kept on disk: one folder per encoder, and in it a file for every batch of new captions.

A file is written once and never changed, all at once, and its name follows from the captions in it. Two processes that
embed at the same time therefore lose nothing of each other's; one that is stopped has kept all but its last batch.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Sequence

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..cache import cache_folder

log = logging.getLogger(__name__)

_IN_A_FILE = 4096  # captions


class Captions:
    """Rows of numbers by caption.

    Args:
        key: What the rows depend on beside the caption, as a digest: encoder and options.
    """

    def __init__(self, key: str) -> None:
        self.folder = cache_folder() / f"captions-{key[:16]}"

    def rows(self, captions: Sequence[str], embed: Callable[[Sequence[str]], Tensor]) -> Tensor:
        """The rows of captions, none of them twice; those that are not kept are embedded, and kept.

        Args:
            captions: Without repetition.
            embed: Gives the rows of some captions, shape (n, *), float32, on the CPU.
        Returns:
            Shape (N, *), on the CPU.
        """
        found = self._kept(captions)
        missing = [caption for caption in captions if caption not in found]
        for begin in range(0, len(missing), _IN_A_FILE):
            some = missing[begin : begin + _IN_A_FILE]
            new = embed(some)
            try:
                self._keep(some, new)
            except (SafetensorError, OSError) as error:
                log.warning("captions: their embeddings cannot be kept in %s (%s)", self.folder, error)
            found.update(zip(some, new, strict=True))
        return torch.stack([found[caption] for caption in captions])

    def _kept(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Those that are on disk, with their rows."""
        wanted = {_digest(caption): caption for caption in captions}
        found: dict[str, Tensor] = {}
        for file in sorted(self.folder.glob("*.safetensors")):
            try:
                with safe_open(file, "pt") as tensors:
                    names = [bytes(name) for name in tensors.get_tensor("digests").tolist()]
                    places = [place for place, name in enumerate(names) if name in wanted]
                    if not places:
                        continue
                    rows = tensors.get_tensor("rows")[places]
            except (SafetensorError, OSError):
                log.info("captions: %s is damaged, and its captions are embedded again", file)
                continue
            found.update({wanted[names[place]]: row for place, row in zip(places, rows, strict=True)})
        return found

    def _keep(self, captions: Sequence[str], rows: Tensor) -> None:
        digests = [_digest(caption) for caption in captions]
        name = hashlib.sha256(b"".join(digests)).hexdigest()[:32]
        file = self.folder / f"{name}.safetensors"
        part = self.folder / f".{name}.{os.getpid()}.part"
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {"digests": torch.tensor([list(each) for each in digests], dtype=torch.uint8), "rows": rows}
        save_file({key: each.contiguous() for key, each in tensors.items()}, part)
        os.replace(part, file)


def _digest(caption: str) -> bytes:
    return hashlib.sha256(caption.encode()).digest()
