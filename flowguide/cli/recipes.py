"""Recipes on hydra: where they are found, how a component becomes a choice in them, and how they are run.

A recipe is a YAML file whose ``defaults`` choose a component of each kind: ``- network: mlp``. Every registered
component is such a choice by itself, with the options of its signature at their defaults: there is nothing to write
beside the class. Files in ``recipes/network/`` are choices too: a component by another name, with options of its own.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from ..registry import Registry, unknown
from .words import check_folders, flags_and_overrides, overridden, without

Task = Callable[[dict[str, Any], Path], None]

_GROUPS = {
    "data": "data",
    "source": "data",
    "conditioner": "conditioners",
    "path": "paths",
    "network": "networks",
    "objective": "objectives",
    "guidance": "guidance",
    "solver": "solvers",
    "features": "evaluation.features",
}


def folder() -> Path:
    """The folder of the recipes that come with flowguide: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def names() -> dict[str, str]:
    """The training recipes that come with flowguide: name and first line of comment."""
    found = {}
    for file in sorted(folder().glob("*.yaml")):
        first = file.read_text().partition("\n")[0]
        found[file.stem] = first.removeprefix("#").strip() if first.startswith("#") else ""
    return found


def groups() -> dict[str, Registry]:
    """The kinds of component that a recipe chooses, by the name of the choice."""
    return {group: importlib.import_module(f"flowguide.{package}").registry for group, package in _GROUPS.items()}


def choices() -> set[str]:
    """What a recipe chooses by name: components, and files in folders beside the recipes."""
    return {*_GROUPS, *(file.name for file in folder().iterdir() if file.is_dir())}


def locate(recipe: str) -> tuple[Path, str]:
    """Folder and name of a recipe, given as a name or as the path of a YAML file; ValueError if there is none."""
    given = Path(recipe)
    if given.suffix in (".yaml", ".yml"):
        if not given.is_file():
            raise ValueError(f"there is no recipe file {recipe}")
        return given.resolve().parent, given.stem
    for where in (Path.cwd(), folder()):
        if given.name == recipe and (where / f"{recipe}.yaml").is_file():
            return where, recipe
    raise unknown("recipe", recipe, names())


def run(task: Task, where: Path, name: str, words: Sequence[str]) -> None:
    """Compose a recipe with the command line's overrides and hand it to ``task``, once, or once per point of a sweep.

    Args:
        task: Called with the resolved configuration and the output folder.
        where: Folder of the recipe; those that come with flowguide are found besides.
        name: Name of the recipe in it.
        words: Overrides in hydra's grammar, and hydra's flags (``--multirun``, ``--cfg job``, ...).
    Raises:
        ValueError: with one sentence, whatever is wrong with the recipe or the overrides.
    """
    import hydra

    from .recipe_errors import explain

    flags, words = flags_and_overrides(words)
    check_folders(words)
    chosen = choices()
    words = [without(word, chosen) for word in words]
    modules = [*_imports_in(where / f"{name}.yaml"), *imports_among(words)]
    import_modules(modules)
    _offer_components()
    settings = ["hydra/job_logging=none", "hydra/hydra_logging=none", "hydra.output_subdir=null"]
    outputs = [
        "hydra.run.dir=${out}",
        "hydra.sweep.dir=${out}",
        "hydra.sweep.subdir=${hydra:job.override_dirname}",
        "hydra.job.config.override_dirname.exclude_keys=[recipe,run,home,out,imports]",
    ]
    words = [*words, *settings, *(line for line in outputs if not overridden(line.partition("=")[0], words))]
    if where != folder() and not {"--config-dir", "-cd"} & set(flags):
        flags += ["--config-dir", str(where)]

    failures: list[str] = []

    def job(config: Any) -> None:
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import OmegaConf

        here = HydraConfig.get()
        try:
            import_modules(modules)  # a launcher may have moved this to another process
            resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
            task(resolved, Path(here.runtime.output_dir))
        except _mistakes() as error:
            # Kept, not raised: one bad point of a sweep does not cost the others, and hydra would print its own
            # report. A launcher that runs jobs elsewhere has to be told by the exception.
            if not here.launcher._target_.endswith("BasicLauncher") or os.environ.get("FLOWGUIDE_TRACEBACK"):
                raise
            failures.append(explain(error, where, name, words))

    main = hydra.main(version_base="1.3", config_path=str(folder()), config_name=name)(job)
    with _arguments([*flags, *words]):
        try:
            main()
        except _mistakes() as error:
            if os.environ.get("FLOWGUIDE_TRACEBACK"):
                raise
            raise ValueError(explain(error, where, name, words)) from None
        except RuntimeError as error:  # submitit's, where there is no SLURM
            if "srun" not in str(error):
                raise
            raise ValueError(explain(error, where, name, words)) from None
    if failures:
        others = f" ({len(failures) - 1} more of the sweep's runs failed)" if len(failures) > 1 else ""
        raise ValueError(failures[0] + others)


def _mistakes() -> tuple[type[Exception], ...]:
    """The exceptions that say that a user asked for something wrong."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return (HydraException, OmegaConfBaseException, ValueError, OSError)


def import_modules(modules: Sequence[str]) -> None:
    """Import a user's modules, from the current folder too; ValueError if one cannot be."""
    if modules and "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ValueError(f"imports names {module!r}, but there is no module {error.name!r} here") from None


def _imports_in(file: Path) -> list[str]:
    """The ``imports`` of a recipe, which are needed before hydra can read it."""
    try:
        recipe = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {' '.join(str(error).split())}") from None
    return _as_modules(recipe.get("imports") if isinstance(recipe, dict) else None, str(file))


def imports_among(words: Sequence[str]) -> list[str]:
    """The ``imports`` on the command line."""
    modules: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key.lstrip("+") == "imports":
            try:
                modules += _as_modules(yaml.safe_load(value), "imports")
            except yaml.YAMLError:
                raise ValueError(f"imports must be a list of modules, [my_module], not {value}") from None
    return modules


def _as_modules(value: Any, owner: str) -> list[str]:
    value = [value] if isinstance(value, str) else value or []
    names = value if isinstance(value, list) else [None]
    if not all(isinstance(name, str) and all(part.isidentifier() for part in name.split(".")) for name in names):
        raise ValueError(f"{owner}: imports must be a list of modules, [my_module], not {value!r}")
    return value


def _offer_components() -> None:
    """Make every registered component a choice of its group.

    What a data set cannot do without, its files say, hydra then asks for; what a network cannot, the data will tell.
    """
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for group, registry in groups().items():
        for name in registry.names():
            node = registry.defaults(name)
            if registry is groups()["data"]:
                options = registry.options(name).items()
                node |= {key: "???" for key, option in options if option.default is option.empty}
            store.store(group=group, name=name, node=node, provider="flowguide")


@contextmanager
def _arguments(words: Sequence[str]) -> Iterator[None]:
    """hydra reads the command line itself, and hides its errors' causes unless asked not to."""
    with mock.patch.object(sys, "argv", [sys.argv[0], *words]), mock.patch.dict(os.environ, HYDRA_FULL_ERROR="1"):
        yield
