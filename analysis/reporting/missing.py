"""What a report lacks, and the scripts of analysis/ that draw it."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowguide.cli import recipes
from flowguide.cli.main import of_run, quoted
from flowguide.fields import NetworkField, Posterior
from flowguide.training.run_folder import flatten

from .run import SCRIPTS

# Where the numbers of a script may lie already; of all others it is their picture that counts.
_QUALITY = ("quality.json", "../evaluation/quality.json")


def missing(model: Any, figures: Mapping[str, Any], out: Path) -> dict[str, Mapping[str, Any]]:
    """The scripts that have not drawn yet what a report has, with their settings.

    Args:
        model: The trained model.
        figures: For each kind of model, names of scripts and their settings; None for a script that is not wanted.
        out: Where their figures lie.
    Raises:
        ValueError: if there is no such script, or its settings are none.
    """
    wanted = figures.get(kind(model) or "") or {}
    found = {}
    for name, settings in wanted.items():
        if not (SCRIPTS / f"{name}.py").is_file():
            raise ValueError(f"figures names {name!r}, and there is no script analysis/{name}.py")
        if not isinstance(settings, Mapping | None):
            raise ValueError(f"figures.{name} must be settings of that script, {{...}}, or null, not {settings!r}")
        files = _QUALITY if name == "quality_vs_w" else (f"{name}.png",)
        if settings is not None and not any((out / file).is_file() for file in files):
            found[name] = settings
    return found


def kind(model: Any) -> str | None:
    """What a trained model makes that can be measured: labelled images or points, posteriors; None for all else."""
    if not model.config.data.get("name"):
        return None  # of a published file: its data are not known
    if isinstance(model, Posterior):
        return "posteriors"
    if not isinstance(model, NetworkField) or model.num_classes is None:
        return None
    shape = tuple(model.config.shape)
    return "points" if shape == (2,) else "images" if len(shape) == 3 and shape[0] in (1, 3) else None


def call(name: str, run: str, settings: Mapping[str, Any]) -> None:
    """Run a script of analysis/ from within another one.

    Args:
        name: Of the script, of its function and of its recipe.
        run: The run's folder or checkpoint.
        settings: Those that are to be others than in its recipe.
    Raises:
        ValueError: as the script itself says it.
    """
    script = getattr(importlib.import_module(name), name)
    words = [f"{key}={_written(value)}" for key, value in flatten(dict(settings)).items()]
    resolved = composed(f"analysis/{name}", of_run([run, *words], f"python analysis/{name}.py {run}"))
    script(resolved, Path(resolved["out"]))


def _written(value: Any) -> str:
    """A value in hydra's grammar, in which the choice of a component has no quotes."""
    if isinstance(value, str):
        return value if value.isidentifier() else quoted(value)
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{_written(each)}' for key, each in value.items())}}}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def composed(recipe: str, words: Sequence[str]) -> dict[str, Any]:
    """A recipe that comes with flowguide, resolved, while hydra is running another one."""
    from hydra import compose
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from flowguide.cli.recipe_errors import explain

    try:
        return OmegaConf.to_container(compose(recipe, list(words)), resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error, recipes.folder(), recipe, words)) from None
