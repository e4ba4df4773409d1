"""What a report lacks, and the scripts of analysis/ that draw it."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowguide import training
from flowguide.cli import recipes
from flowguide.cli.main import of_run
from flowguide.fields import NetworkField, Posterior

# Where the numbers of a script may lie already; of all others it is their picture that counts.
_QUALITY = ("quality.json", "../evaluation/quality.json")


def missing(model: Any, figures: Mapping[str, Any], out: Path) -> dict[str, list[str]]:
    """The scripts that have not drawn yet what a report has, with their words.

    Args:
        model: The trained model.
        figures: For each kind of model, names of scripts and their words; None for a script that is not wanted.
        out: Where their figures lie.
    """
    wanted = figures.get(kind(model) or "") or {}
    found = {}
    for name, words in wanted.items():
        files = _QUALITY if name == "quality_vs_w" else (f"{name}.png",)
        if words is not None and not any((out / file).is_file() for file in files):
            found[name] = [str(word) for word in words]
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


def call(name: str, words: Sequence[str]) -> None:
    """Run a script of analysis/ from within another one.

    Args:
        name: Of the script, of its function and of its recipe.
        words: Its command line; the first is the run.
    Raises:
        ValueError: as the script itself says it.
    """
    script = getattr(importlib.import_module(name), name)
    settings = composed(f"analysis/{name}", of_run(words, f"python analysis/{name}.py runs/digits"))
    script(settings, Path(settings["out"]))


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
