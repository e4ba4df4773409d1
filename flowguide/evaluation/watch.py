"""What becomes of samples while a model trains: their quality at fixed seeds, a picture of them, and the best model.

A recipe asks for it by ``watch=quality``. Every so many steps the averaged model is sampled, always from one noise,
and

- the picture goes to the log and to ``RUN/watch/``;
- the metrics go to the log and to ``RUN/watch/rows.json``;
- if the first metric is the best so far, the averaged weights go to ``RUN/best.safetensors``, which is loaded as any
  checkpoint is.

Nothing of it reaches the training itself, whose every bit is as without it.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .. import drawing, guidance, metrics, solvers
from ..fields import Field, Given
from ..metrics import see
from ..options import check_options
from ..training import (
    RunFolder,
    TrainConfig,
    check_seed,
    checkpoint,
    held_out_images,
    pixel_data,
    samples,
    sharded,
)
from ..training.logs import Writer
from .conditions import Drawn, drawn_conditions
from .evaluate import measure_all
from .judge import Judge, judge_for

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WatchConfig:
    """What ``recipes/watch/`` may say.

    Attributes:
        solver: Node of a solver.
        every: Steps between looks; there is a last one at the end.
        guidance: Node of a guidance rule, whose ``w`` may be None; None to look at the conditional samples.
        weight: What ``w`` is where it is None, of a rule that has one.
        metrics: Names of metrics, the first of which says which model is the best; may be empty.
        classifier: The network, objective, training and seed nodes of the classifier to measure with.
        num: Samples that metrics are computed of.
        shown: Samples in a picture.
        seed: Of the noise.
        batch_size: Samples per evaluation of the network.
    """

    solver: Mapping[str, Any]
    every: int = 1000
    guidance: Mapping[str, Any] | None = None
    weight: float = 1.0
    metrics: Sequence[str] = ()
    classifier: Mapping[str, Any] | None = None
    num: int = 500
    shown: int = 40
    seed: int = 0
    batch_size: int = 256

    def __post_init__(self) -> None:
        for name, least in {"every": 1, "num": 2, "shown": 1, "batch_size": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"watch.{name} must be at least {least}, not {getattr(self, name)}")
        if self.metrics and self.classifier is None:
            raise ValueError("watch.metrics need watch.classifier, whose features they are computed in")
        check_seed(self.seed)


class Watch:
    """Looks at the model of a run: called after every step with its number, the averaged model and the log.

    Args:
        config: What to look at.
        training: Of the run, with the shape of a sample.
        run: Its folder.
        model: What is trained, for whatever does not suit it to be said now and not at the first look.
        show: Show how the classifier is trained, if it is not kept from before.
    Raises:
        ValueError: if anything in the configuration is wrong, or the run trains a classifier.
    """

    def __init__(
        self,
        config: WatchConfig,
        training: TrainConfig,
        run: RunFolder,
        model: nn.Module | None = None,
        show: bool = True,
    ) -> None:
        if training.path is None:
            raise ValueError("watch looks at samples, and a classifier has none: leave out watch=")
        self.config = config
        self.training = training
        self.run = run
        self.solver = solvers.registry.build_from(config.solver)
        self.measures = {name: metrics.build(name) for name in config.metrics}
        for name, measure in self.measures.items():
            if "bits" in measure.needs:
                raise ValueError(f"{name} takes too long to be watched: leave it out of watch.metrics, and evaluate it")
        self._said: set[str] = set()
        self._drawn: Drawn | None = None
        self.images = held_out_images(training)
        if model is not None:
            field, _ = self.rule(model)
            if self.measures:
                self._check_labels(self.drawn(field))
        self.judge: Judge | None = None
        if config.metrics:  # trained now, on all ranks: later the first one is by itself
            self.judge = judge_for(pixel_data(training)[0], config.classifier, training.device, show)

    @property
    def file(self) -> Path:
        """Where the rows are: a number of each metric for every step that was looked at."""
        return self.run.folder / "watch" / "rows.json"

    def __call__(self, step: int, model: nn.Module, writer: Writer) -> None:
        if step % self.config.every and step != self.training.options.steps:
            return
        field, rule = self.rule(model)
        conds, labels, _ = self.drawn(field)
        options = {"batch_size": self.config.batch_size}
        drawn = samples(self.training, rule, self.count, conds, self.solver, self.config.seed, **options)
        first = self.run.ranks.first  # the others are here for their shares of the model
        if first:
            with _unless_full():
                self._show(step, drawn[: self.config.shown], labels, field.num_classes, writer)
        if self.judge is None:
            return
        num = self.config.num
        seen = see(self.judge.classifier, drawn[:num], None if labels is None else labels[:num])
        row = measure_all(self.measures, seen, self.judge.train, self._said)
        best = first and self._is_best(step, row)
        if any(sharded.is_share(parameter) for parameter in model.parameters()):
            best = self.run.ranks.any(best)
        kept = model.state_dict() if best else {}
        tensors = {f"ema.{name}": sharded.whole(tensor) for name, tensor in kept.items()}
        if first:
            for name, value in row.items():
                writer.add_scalar(f"watch/{name}", value, step)
            with _unless_full():
                self._keep(step, row, tensors)

    @property
    def count(self) -> int:
        """Of samples at every look."""
        return max(self.config.shown, self.config.num if self.measures else 0)

    def drawn(self, field: Field) -> Drawn:
        """What samples of a field are asked to be, the same at every look."""
        if self._drawn is None:
            self._drawn = drawn_conditions(self.training, field.num_classes, self.count, field.takes_conditions)
        return self._drawn

    def _check_labels(self, drawn: Drawn) -> None:
        for name, measure in self.measures.items():
            if "labels" in measure.needs and drawn.labels is None:
                raise ValueError(
                    f"watch.metrics: {name} needs labels, and the samples of this run have none: leave it out"
                )

    def rule(self, model: nn.Module) -> tuple[Field, Field]:
        """The field that is sampled, and the rule around it, or itself; ValueError if they do not go together."""
        if not isinstance(model, Field):
            raise ValueError(f"watch looks at samples, and a {type(model).__name__} has none: leave out watch=")
        field = model if self.images is None else Given(model, self.images)
        if self.config.guidance is None:
            return field, field
        node = {key: value for key, value in self.config.guidance.items() if key != "w" or value is not None}
        name = node.get("name")
        if "w" not in node and name in guidance.names() and "w" in guidance.registry.options(name):
            node["w"] = self.config.weight
        try:
            return field, guidance.registry.build_from(node, field)
        except ValueError as error:
            raise ValueError(f"watch.guidance: {error}; watch.guidance=null looks at samples without") from None

    def _show(self, step: int, drawn: Tensor, labels: Tensor | None, classes: int | None, writer: Writer) -> None:
        picture = self.file.with_name(f"step-{step:08d}.png")
        if drawn.ndim == 4 and drawn.shape[1] in (1, 3):
            columns = classes if classes and classes <= 20 else max(1, round(len(drawn) ** 0.5))
            drawing.save_images(drawn, picture, columns)
            writer.add_image("watch/samples", drawing.tile(drawn, columns).permute(2, 0, 1), step)
        elif drawn.shape[1:] == (2,):
            drawing.save_points(drawn, None if labels is None else labels[: len(drawn)], picture, f"step {step}")

    def _is_best(self, step: int, row: Mapping[str, float]) -> bool:
        """Whether the first metric is better than at every earlier step."""
        first = next(iter(self.measures))
        sign = 1.0 if self.measures[first].better == "lower" else -1.0
        return all(sign * row[first] < sign * each[first] for number, each in self.rows().items() if number < step)

    def _keep(self, step: int, row: Mapping[str, float], best: Mapping[str, Tensor]) -> None:
        """Note the numbers; and the model, if it is the best so far."""
        if best:  # before the row: a run that dies between them looks again
            meta = {"step": step, "config": self.training.settings(), "watched": dict(row)}
            checkpoint.write(self.run.folder / "best.safetensors", best, meta)
        rows = {number: each for number, each in self.rows().items() if number < step}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_name(".rows.json.part")
        part.write_text(json.dumps({**rows, step: dict(row)}, indent=1) + "\n")
        os.replace(part, self.file)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in row.items())
        log.info("step %d: %s%s", step, shown, " (the best so far)" if best else "")

    def rows(self) -> dict[int, dict[str, float]]:
        """What was measured, by step."""
        if not self.file.is_file():
            return {}
        return {int(step): row for step, row in json.loads(self.file.read_text()).items()}


@contextmanager
def _unless_full() -> Iterator[None]:
    """Go on without what cannot be written: a full disk is to cost no one a run."""
    try:
        yield
    except OSError as error:
        log.warning("%s; the run goes on", error)


def watcher(node: Mapping[str, Any] | None, show: bool = True) -> Callable[..., Watch] | None:
    """What makes the watch of a recipe's node, once the run is known; None if nothing is to be watched."""
    if node is None:
        return None
    config = WatchConfig(**check_options("watch", WatchConfig, (), node))
    return lambda training, run, model=None: Watch(config, training, run, model, show)
