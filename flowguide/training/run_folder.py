"""A run's folder: its configuration, its environment, its checkpoints and its logs.

::

    runs/digits/
      config.yaml         what was asked for, resolved
      environment.json    versions, revision, machine, command
      checkpoints/        step-00003000.safetensors, ... (the newest few)
      averages/           step-00000100.safetensors, ...: power-function averages of the weights, if any are kept
      logs/               TensorBoard
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from . import checkpoint
from .claim import Claim
from .config import complete
from .environment import environment
from .ranks import Ranks
from .sharded import is_share

log = logging.getLogger(__name__)

# What may differ when a run goes on: it changes nothing about the steps already taken.
_FREE = {
    "shape",
    "recipe",
    "run",
    "out",
    "imports",
    "fresh",
    "device",
    "data.folder",
    "data.file",
    "data.stream",
    "data.verify",
    "training.steps",
    "training.save_every",
    "training.keep",
    "training.snapshot_every",
    "training.accumulate",
    "training.compile",
    "training.parallel",
    "training.workers",
    "training.skips",
    "training.log",
    "allow",
    "watch",
}

# What tells of the weights of an earlier run: the best of them, what was measured, and the name of its log elsewhere.
_SEEN = ("best.safetensors", "watch/rows.json", "logs/wandb_id")


class RunFolder:
    """The folder of one training run.

    Args:
        folder: Where it is, or is to be.
        ranks: Who trains; the first of them writes.
    """

    def __init__(self, folder: Path | str, ranks: Ranks | None = None) -> None:
        self.folder = Path(folder)
        self.ranks = ranks or Ranks()
        self.checkpoints = self.folder / "checkpoints"
        self.averages = self.folder / "averages"
        self.logs = self.folder / "logs"
        self._claim = Claim(self.folder)

    def open(self, config: dict[str, Any], fresh: bool = False, allow: bool = False) -> None:
        """Create the folder for ``config``, or take up the run that is in it; all ranks have to call.

        It is this run's alone until it is closed; another process that opens it waits. What is written down of a run
        that is taken up is left as it is until it goes on: see :meth:`describe`.

        Args:
            config: The resolved configuration.
            fresh: Start over, removing the checkpoints and averages of an earlier run, and what was seen of them.
            allow: Go on with an earlier run even if its configuration was another.
        Raises:
            ValueError: if the folder holds a run with another configuration.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"the run folder {self.folder} is a file; choose another with run=...")
        if self.ranks.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._claim.take()
        self.ranks.wait()
        if not fresh and self.files():
            self._compare(config, allow)
        self.ranks.wait()  # for all to have looked before anything is written
        if self.ranks.first:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            old = [*checkpoint.begun(self.checkpoints), *checkpoint.begun(self.averages)]
            if fresh:
                old += [*self.files(), *self.averages.glob("*.safetensors"), *self.logs.glob("events.*")]
                old += [path for name in _SEEN if (path := self.folder / name).exists()]
            for path in old:
                checkpoint.remove(path)
        if not self.files():
            self.describe(config)
        self.ranks.wait()

    def close(self) -> None:
        """Let another process open it."""
        self._claim.release()

    def describe(self, config: dict[str, Any]) -> None:
        """Write down what the run is of from here on: its configuration, and what it runs in."""
        if self.ranks.first:
            _write_text(self.folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
            _write_text(self.folder / "environment.json", json.dumps(environment(), indent=2) + "\n")

    def _compare(self, config: dict[str, Any], allow: bool) -> None:
        """ValueError, or a warning if that is allowed, if the run in the folder has another configuration."""
        before = self.config()
        config = config if before.get("samples") else {**config, "samples": None}  # they were not noted once
        # Absent is the default: a run goes on when a component has been given a new option since.
        real = _differences(complete(before), complete(config))
        differing = {name: each for name, each in _differences(before, config).items() if name in real}
        if not differing:
            return
        name, (old, new) = next(iter(differing.items()))
        others = f" ({len(differing) - 1} more: {', '.join(list(differing)[1:4])})" if len(differing) > 1 else ""
        words = f"{self.folder} holds a run with {name}={old}, not {new}{others}"
        if not allow:
            raise ValueError(
                f"{words}; choose another folder with run=..., start over with fresh=true, or go on nevertheless with "
                f"--allow"
            )
        if self.ranks.first:
            log.warning("%s; going on with what fits", words)

    def config(self) -> dict[str, Any]:
        """The configuration; ValueError if this is no run folder."""
        file = self.folder / "config.yaml"
        try:
            config = yaml.safe_load(file.read_text())
        except FileNotFoundError:
            what = "has no config.yaml, so it is not a run folder" if self.folder.is_dir() else "does not exist"
            raise ValueError(f"{self.folder} {what}; a run folder is what 'flowguide train' writes") from None
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            raise ValueError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
        if not isinstance(config, dict):
            raise ValueError(f"{file} is not a configuration")
        return config

    def files(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return sorted(self.checkpoints.glob("step-*"), key=_step_of)

    def snapshots(self) -> list[Path]:
        """The snapshots of averages, oldest first."""
        return sorted(self.averages.glob("step-*.safetensors"))

    def newest(self, fall_back: bool = False) -> Path | None:
        """The newest checkpoint; None if there is none.

        Args:
            fall_back: Take the one before a damaged one, and say so, instead of raising.
        Raises:
            ValueError: if it is damaged, naming the newest good one, or none is good; or it is of a newer flowguide,
                which is no damage.
        """
        damage: ValueError | None = None
        for file in reversed(self.files()):
            try:
                checkpoint.read_meta(file)
            except checkpoint.Newer:
                raise
            except ValueError as error:
                damage = damage or error
                continue
            if damage and not fall_back:
                raise ValueError(f"{damage}; the last good checkpoint is {file}")
            if damage and self.ranks.first:
                log.warning("%s; going on from the last good one, %s", damage, file.name)
            return file
        if damage:
            hint = "; start over with fresh=true" if fall_back else ""
            raise ValueError(f"{damage}; there is no other checkpoint in {self.checkpoints}{hint}")
        return None

    def save(self, step: int, tensors: dict[str, Tensor], config: dict[str, Any], keep: int) -> Path:
        """Write the checkpoint of ``step``, keep the ``keep`` newest up to it and no others; all ranks have to call.

        Later ones were damaged, or the run would have gone on from them.

        Raises:
            Unwritten: if there is no room for it; those before are then left.
        """
        path, meta = self.checkpoints / f"step-{step:08d}", {"step": step, "config": config}
        if any(is_share(tensor) for tensor in tensors.values()):
            checkpoint.write_shares(path, tensors, meta, self.ranks)
        elif self.ranks.first:
            path = path.with_suffix(".safetensors")
            checkpoint.write(path, tensors, meta)
        if self.ranks.first:
            files = self.files()
            earlier = [file for file in files if _step_of(file) < _step_of(path)]
            kept = {path, *earlier[max(0, len(earlier) - keep + 1) :]}
            for old in files:
                if old not in kept:
                    checkpoint.remove(old)
        return path

    def save_snapshot(self, step: int, tensors: dict[str, Tensor], config: dict[str, Any]) -> Path:
        """Write the power-function averages as they are after ``step`` steps."""
        file = self.averages / f"step-{step:08d}.safetensors"
        if not self.ranks.first:
            return file
        self.averages.mkdir(exist_ok=True)
        checkpoint.write(file, tensors, {"step": step, "config": config, "lengths": config["training"]["ema_lengths"]})
        return file


def _step_of(path: Path) -> tuple[int, str]:
    """Its step, as what sorts as steps do, those of more than eight digits too."""
    name = path.name.removesuffix(".safetensors")
    return len(name), name


def _write_text(file: Path, text: str) -> None:
    """At once: a process that is killed leaves the old file or the new one, and not a half."""
    part = file.with_name(f".{file.name}.part")
    part.write_text(text)
    os.replace(part, file)


def _differences(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings in which two configurations differ, other than those that may."""
    old, new = flatten(old), flatten(new)
    names = [name for name in {**old, **new} if name not in _FREE and not name.startswith("watch.")]
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
