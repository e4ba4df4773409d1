"""What ``flowguide train``, ``sample`` and ``evaluate`` do with a composed configuration."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import guidance, solvers, training
from ..fields import Field, LatentField, Posterior
from ..options import check_options
from .main import is_first
from .titles import title_of, words_of_weights


@dataclass(frozen=True)
class SampleConfig:
    """What ``recipes/base/sample.yaml`` may say, resolved.

    Attributes:
        run, home: The run folder or checkpoint file, and the run's folder.
        out: Where the picture and the tensors go.
        solver: Node of a solver.
        guidance: Node of a guidance rule; None to sample the conditional field as it is.
        num: How many samples.
        cond: What the samples are to be: a label, by number or by name, a caption, or attributes by name; a list of num
            of them; or None for all classes, or the conditions of the held-out samples, in turn.
        seed: Of the noise.
        batch_size: Samples per evaluation of the network.
        temperature: Factor on the noise that samples start from.
        device, ema, imports: Where, with which weights (see :func:`flowguide.load`), with whose components.
    """

    run: str
    home: str
    out: str
    solver: Mapping[str, Any]
    guidance: Mapping[str, Any] | None = None
    num: int = 64
    cond: int | str | Mapping[str, Any] | Sequence[Any] | None = None
    seed: int = 0
    batch_size: int = 256
    temperature: float = 1.0
    device: str = "auto"
    ema: bool | float = True
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("num", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        training.check_seed(self.seed)
        training.check_temperature(self.temperature)

    @property
    def title(self) -> str:
        """A file name that says how the samples were made."""
        told = words_of_weights(self.run, self.home, self.ema)
        told += [] if self.temperature == 1 else [f"temperature{self.temperature:g}"]
        elsewhere = None if Path(self.out) == Path(self.home, "samples") else self.home
        return title_of(self.guidance, self.solver, self.seed, self.cond, told, {"run": elsewhere})


def train(settings: dict[str, Any], folder: Path) -> None:
    """Train, and say what to do next."""
    from ..evaluation import watcher
    from ..networks import Autoencoder

    shown = _relative(folder)
    show = not settings.pop("quiet", False)
    try:
        watch = watcher(settings.get("watch"), show)
        model = training.train({**settings, "run": str(shown), "out": str(shown)}, shown, show, watch)
    except training.Interrupted as stop:
        raise training.Interrupted(f"{stop}. Everything is in {shown}") from None
    if not is_first():
        return
    print(f"trained: {shown}")
    if isinstance(model, Field):
        sampling, measuring = _needs(model)
        print(f"next:    flowguide sample {shown}{sampling}    or    flowguide evaluate {shown}{sampling}{measuring}")
    elif isinstance(model, Posterior):
        print(f"next:    flowguide sample RUN guidance=classifier guidance.classifier={shown}")
    elif isinstance(model, Autoencoder):
        print(f"next:    flowguide encode {shown} out=runs/latents")


def sample(settings: dict[str, Any], folder: Path) -> None:
    """Sample a run, and write the tensors, and the picture if they can be shown in one: latents cannot.

    Under torchrun each process draws its share, and the first one writes.
    """
    from safetensors.torch import save_file

    from .. import drawing

    config = SampleConfig(**check_options("the command", SampleConfig, (), settings))
    solver = solvers.registry.build_from(config.solver)
    with training.joined() as ranks:
        model = training.load_generative(config.run, config.ema, ranks.device(config.device))
        field = model
        if config.guidance is not None:
            field = guidance.registry.build_from(training.with_models(config.guidance, model, config.ema), model)
        conds = model.conditions(config.cond, config.num, field.num_classes)
        options = {"batch_size": config.batch_size, "progress": True, "ranks": ranks}
        options["temperature"] = config.temperature
        samples = training.samples(model.config, field, config.num, conds, solver, config.seed, **options).cpu()
        shape = tuple(samples.shape[1:])  # of images, where the model is one of latents
    if not ranks.first:
        return

    folder.mkdir(parents=True, exist_ok=True)
    labels = conds if field.num_classes is not None else None
    kind = "conditions" if labels is None else "labels"
    tensors = {"data": samples} if conds is None else {"data": samples, kind: conds.contiguous()}
    file = folder / f"{config.title}.safetensors"
    save_file(tensors, file, {"config": json.dumps(settings)})
    picture = folder / f"{config.title}.png"
    written = f"{_relative(picture)} and .safetensors"
    if len(shape) == 3 and shape[0] in (1, 3):
        drawing.save_images(samples, picture, columns=_columns(config, field.num_classes))
    elif shape == (2,):
        drawing.save_points(samples, labels, picture, title=config.title.replace("_", ", "))
    else:
        written = str(_relative(file))
    print(f"{config.num} samples, {solver.evaluations} evaluations of the field: {written}")


def encode(settings: dict[str, Any], folder: Path) -> None:
    """Write the latents of a data set, and say how good the autoencoder is and what to do next."""
    from ..encoding import EncodeConfig
    from ..encoding import encode as write

    config = EncodeConfig.of(settings)
    manifest = write(config)
    counts = " and ".join(
        f"{sum(shard.samples for shard in shards)} to {split}" for split, shards in manifest.shards.items()
    )
    print(f"encoded: {config.out}: {counts}, {'x'.join(map(str, manifest.shape))} numbers each")
    print(f"held-out images are reconstructed with a PSNR of {manifest.psnr:.2f} dB")
    print(f"next:    flowguide train glyphs_latent_dit data.folder={config.out}    (or a recipe of your own)")


def evaluate(settings: dict[str, Any], folder: Path) -> None:
    """Evaluate a run, print the table and write it."""
    from ..evaluation import EvaluateConfig, write_tables
    from ..evaluation import evaluate as measure

    config = EvaluateConfig.of(settings)
    rows = measure(config, folder)
    if not is_first():
        return
    print(write_tables(rows, config.metrics, folder))
    print(f"tables: {_relative(folder)}/quality.csv and .json")


def _needs(model: Field) -> tuple[str, str]:
    """What sample and evaluate have to be told, and evaluate besides, of a model that their defaults do not suit."""
    network = model.network
    null = network.conditioning.null(1) if network.extra_channels and model.told == "sometimes" else model.null(1)
    images = isinstance(model, LatentField) or len(model.shape) == 3
    if not (images and network.is_told):
        measuring = " features=identity 'metrics=[sliced_wasserstein,mmd]'"
    else:
        measuring = " 'metrics=[frechet_distance,inception_score]'" if model.told == "never" else ""
    return "" if null is not None else " '~guidance'", measuring


def _columns(config: SampleConfig, num_classes: int | None) -> int:
    """A row of the picture holds each class once, if that is how the labels go; otherwise it is about square."""
    if config.cond is None and num_classes and 2 <= num_classes <= 20:
        return min(config.num, num_classes)
    return max(1, round(config.num**0.5))


def _relative(path: Path) -> Path:
    """As short as the current folder allows."""
    try:
        return path.resolve().relative_to(Path.cwd())
    except ValueError:
        return path
