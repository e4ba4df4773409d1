"""``flowguide sample cascade=[BASE,RUN]``: one stage makes small images, and each of the next larger ones of those.

``flowguide evaluate cascade=[BASE,RUN]`` measures them, as it does the samples of a run (``commands.py``).
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import training
from ..options import check_options
from .main import is_first, of_run
from .titles import title_of, words_of_weights

_EXAMPLE = "cascade=[runs/glyphs16_base,runs/glyphs64_sr]"


@dataclass(frozen=True)
class CascadeConfig:
    """What ``recipes/base/cascade.yaml`` may say, resolved.

    Attributes:
        cascade: The stages, a run folder or ``{run: ..., guidance: ..., solver: ..., augmentation: ...}`` each.
        home, out: The folder of the last run, and where the picture and the tensors go.
        solver, guidance, augmentation: Of stages that say nothing of their own.
        num, cond, seed, batch_size, device, ema, imports: As for a single run.
    """

    cascade: Sequence[Any]
    home: str
    out: str
    solver: Mapping[str, Any]
    guidance: Mapping[str, Any] | None = None
    augmentation: float | None = None
    num: int = 64
    cond: int | str | Mapping[str, Any] | Sequence[Any] | None = None
    seed: int = 0
    batch_size: int = 256
    device: str = "auto"
    ema: bool | float = True
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("num", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        training.check_seed(self.seed)

    @property
    def title(self) -> str:
        """A file name that says how the samples were made."""
        told = words_of_weights(self.home, self.home, self.ema)
        more = {"cascade": self.cascade, "augmentation": self.augmentation}
        return "cascade_" + title_of(self.guidance, self.solver, self.seed, self.cond, told, more)


def of_last(words: Sequence[str], command: str) -> list[str]:
    """The words with the folder of the last stage as ``home=``; ValueError if a stage is no run.

    Args:
        words: One of which is ``cascade=[...]``.
        command: For messages: "sample".
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    example = f"flowguide {command} {_EXAMPLE}"
    word = [word for word in words if word.startswith("cascade=")][-1]
    try:
        stages = OverridesParser.create().parse_override(word).value()
    except HydraException:
        raise ValueError(f"{word} is no list of runs, for example: {example}") from None
    runs = [stage.get("run") if isinstance(stage, dict) else stage for stage in stages if isinstance(stages, list)]
    if not runs or not all(str(run or "") for run in runs):
        raise ValueError(f"{word} is no list of runs, for example: {example}")
    (*_, home) = [of_run([f"run={run}"], example)[-1] for run in runs]
    return [*words, home]


def sample(settings: dict[str, Any], folder: Path) -> None:
    """Sample a cascade, and write what each stage made, and the picture of the last one if it can be shown in one.

    Under torchrun each process draws its share, and the first one writes.
    """
    from safetensors.torch import save_file

    from .. import drawing

    config = CascadeConfig(**check_options("the command", CascadeConfig, (), settings))
    with training.joined() as ranks:
        stages = training.load_stages(
            config.cascade, config.guidance, config.solver, config.augmentation, config.ema, ranks.device(config.device)
        )
        conds = training.cascade_conditions(stages, config.cond, config.num)
        options = {"batch_size": config.batch_size, "progress": True, "ranks": ranks}
        made = training.cascade(stages, config.num, conds, config.seed, **options)
    if not is_first():
        return
    *before, samples = [each.cpu() for each in made]
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"data": samples, **{f"stage_{number}": each for number, each in enumerate(before, 1)}}
    for number, (stage, cond) in enumerate(zip(stages, conds, strict=True), 1):
        if stage.num_classes is not None:
            tensors["labels"] = cond  # the same for all
        elif cond is not None:
            tensors[f"conditions_{number}"] = cond.contiguous()
    file = folder / f"{config.title}.safetensors"
    save_file(tensors, file, {"config": json.dumps(settings)})
    written = [os.path.relpath(file)]
    if samples.shape[1] in (1, 3):
        classes = stages[0].num_classes if all(stage.num_classes or not stage.is_told for stage in stages) else None
        columns = classes if config.cond is None and classes and classes <= 20 else max(1, round(config.num**0.5))
        picture = drawing.save_images(samples, file.with_suffix(".png"), columns=min(config.num, columns))
        written.insert(0, os.path.relpath(picture))
    spent = " + ".join(str(stage.solver.evaluations) for stage in stages)
    print(f"{config.num} samples, {spent} evaluations of the fields: {' and '.join(written)}")
