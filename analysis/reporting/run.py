"""What the folder of a run holds, read as it lies there: nothing here computes, and what is absent is None or empty."""

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from flowguide import training
from flowguide.training import checkpoint

SCRIPTS = Path(__file__).parent.parent


@dataclass(frozen=True)
class Series:
    """A curve of the log: a value for some of the steps."""

    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class Run:
    """A run's folder.

    Args:
        path: The folder, or the checkpoint in it that the report is of.
        home: The folder.
        out: Where its figures and tables lie.
    """

    path: Path
    home: Path
    out: Path

    @property
    def name(self) -> str:
        """What it is called."""
        return self.home.resolve().name

    @cached_property
    def checkpoints(self) -> list[Path]:
        """Oldest first; the best one, if a watch kept it, last."""
        kept = training.RunFolder(self.home).files()
        best = self.home / "best.safetensors"
        named = [self.path] if checkpoint.is_checkpoint(self.path) and self.path not in kept else []
        return [*kept, *([best] if best.is_file() and best not in named else []), *named]

    @cached_property
    def newest(self) -> Path | None:
        """The checkpoint that the report is of."""
        if checkpoint.is_checkpoint(self.path):
            return self.path
        return training.RunFolder(self.home).newest()

    @cached_property
    def meta(self) -> dict[str, Any]:
        """What the checkpoint says of itself."""
        return checkpoint.read_meta(self.newest) if self.newest else {}

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The configuration, of the folder or else of the checkpoint."""
        if (self.home / "config.yaml").is_file():
            return training.RunFolder(self.home).config()
        return self.meta.get("config", {})

    @property
    def configuration(self) -> str:
        """The configuration as text."""
        file = self.home / "config.yaml"
        return file.read_text() if file.is_file() else yaml.safe_dump(self.settings, sort_keys=False)

    @cached_property
    def parameters(self) -> int | None:
        """How many its network has; None if it cannot be built here."""
        import torch

        try:
            config = training.TrainConfig.of(self.settings)
            try:
                with torch.device("meta"):  # where nothing is computed
                    model = training.build_model(config)
            except RuntimeError:  # not everything can be built there
                model = training.build_model(config)
        except ValueError:
            return None
        return sum(parameter.numel() for parameter in model.parameters())

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, machine and command of the training."""
        return self.json("environment.json") or {}

    @cached_property
    def watched(self) -> dict[int, dict[str, float]]:
        """What was measured while it trained, by step."""
        return {int(step): row for step, row in (self.json("watch/rows.json") or {}).items()}

    @cached_property
    def log(self) -> tuple[dict[str, Series], list[float]]:
        """The curves by name, and the seconds of each session, from its first step that was logged to its last."""
        return read_log(self.home / "logs")

    def pictures(self, *folder: str) -> list[Path]:
        """The PNGs in a folder of the run."""
        return sorted(self.home.joinpath(*folder).glob("*.png"))

    @cached_property
    def figures(self) -> dict[str, Path]:
        """What the scripts of analysis/ drew, by name."""
        return {file.stem: file for file in sorted(self.out.glob("*.png"))}

    def json(self, name: str) -> Any:
        """A JSON file of the run; None if there is none.

        Raises:
            ValueError: if it is not JSON.
        """
        return read_json(self.home / name)

    def is_older(self, figure: Path) -> bool:
        """Whether a figure was drawn before the newest checkpoint was written."""
        return self.newest is not None and figure.stat().st_mtime < self.newest.stat().st_mtime


def read_json(file: Path) -> Any:
    """What a JSON file holds; None if there is none; ValueError if it is something else."""
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise ValueError(f"{file} cannot be read ({error}): remove it, or write it anew") from None


def read_log(folder: Path) -> tuple[dict[str, Series], list[float]]:
    """The scalars of TensorBoard's files, and the seconds of each file.

    A run that was taken up again has several files, and what an earlier one says of later steps is superseded.
    """
    files = sorted(folder.glob("events.*"))
    if not files:
        return {}, []
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, dict[int, float]] = {}
    seconds = []
    for file in files:
        events = EventAccumulator(str(file), size_guidance={"scalars": 0, "images": 1}).Reload()
        times = []
        for name in events.Tags()["scalars"]:
            scalars = events.Scalars(name)
            first = scalars[0].step
            earlier = {step: value for step, value in found.get(name, {}).items() if step < first}
            found[name] = {**earlier, **{each.step: each.value for each in scalars}}
            times += [each.wall_time for each in scalars]
        if times:
            seconds.append(max(times) - min(times))
    return {name: Series(list(points), list(points.values())) for name, points in found.items()}, seconds


def told_by(script: str) -> tuple[str, str]:
    """What a script of analysis/ says of its figure: what it is, and how it is read; empty without such a script."""
    file = SCRIPTS / f"{script}.py"
    docstring = (ast.get_docstring(ast.parse(file.read_text())) if file.is_file() else None) or ""
    paragraphs = [" ".join(each.split()) for each in docstring.split("\n\n") if not each.startswith(" ")]
    if not paragraphs:
        return "", ""
    first = paragraphs[0].removeprefix("Draw ").removeprefix("draw ")
    return first[:1].upper() + first[1:], " ".join(paragraphs[1:]).partition(" Settings: recipes/")[0]
