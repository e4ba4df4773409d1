"""Where the curves of a run go: TensorBoard's files, Weights & Biases, or nowhere."""

import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

log = logging.getLogger(__name__)


class Writer(Protocol):
    """What takes the numbers and pictures of a run."""

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """A number of step ``step``, from 1."""

    def add_image(self, name: str, image: torch.Tensor, step: int) -> None:
        """A picture (3, H, W) or (1, H, W), in [0, 1]."""

    def close(self) -> None:
        """The last of it was given."""


def writer_to(kind: str, folder: Path, done: int) -> Writer:
    """The writer of a kind of log.

    Args:
        kind: "tensorboard", "wandb" or "none".
        folder: For its files.
        done: Steps that were logged before; what was logged of later ones is superseded.
    Raises:
        ValueError: if what is asked for is not installed.
    """
    if kind == "tensorboard":
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ValueError(
                f"training.log=tensorboard needs tensorboard, which cannot be imported ({error}): pip install "
                f"tensorboard, or take log=none"
            ) from None
        return Spared(lambda: SummaryWriter(str(folder), purge_step=done + 1 if done else None))
    return Spared(lambda: Wandb(folder)) if kind == "wandb" else Nowhere()


class Spared:
    """A writer that ends, with a warning, where it cannot write: a full disk is to cost no one a run.

    Args:
        make: Makes the writer.
    """

    def __init__(self, make: Callable[[], Writer]) -> None:
        self._writer: Writer = Nowhere()
        self._try(lambda: setattr(self, "_writer", make()))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self._try(lambda: self._writer.add_scalar(name, value, step))

    def add_image(self, name: str, image: torch.Tensor, step: int) -> None:
        self._try(lambda: self._writer.add_image(name, image, step))

    def close(self) -> None:
        self._try(lambda: self._writer.close())

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            log.warning("the curves end here, as they cannot be written (%s); the run goes on", error)
            self._writer = Nowhere()


class Nowhere:
    """Keeps nothing."""

    def add_scalar(self, name: str, value: float, step: int) -> None:
        pass

    def add_image(self, name: str, image: torch.Tensor, step: int) -> None:
        pass

    def close(self) -> None:
        pass


class Wandb:
    """Weights & Biases: one run there for each run folder, taken up again when training goes on.

    Args:
        folder: For its files; the run folder above it gives the run its name.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import wandb
        except ImportError:
            raise ValueError(
                "training.log=wandb needs the extra 'wandb': pip install 'flowguide[wandb]', or take log=tensorboard"
            ) from None
        folder.mkdir(parents=True, exist_ok=True)
        note = folder / "wandb_id"
        if not note.exists():
            note.write_text(secrets.token_hex(4))
        self._wandb: Any = wandb
        named = {"project": "flowguide", "name": folder.resolve().parent.name, "id": note.read_text()}
        self._run = wandb.init(**named, resume="allow", dir=str(folder))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self._run.log({name: value}, step=step)

    def add_image(self, name: str, image: torch.Tensor, step: int) -> None:
        picture = image.permute(1, 2, 0).float().cpu().numpy()
        self._run.log({name: self._wandb.Image(picture)}, step=step)

    def close(self) -> None:
        self._run.finish()
