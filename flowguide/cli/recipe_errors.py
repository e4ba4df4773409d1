"""hydra's and omegaconf's errors in one sentence, with what would be right."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..registry import unknown


def explain(error: BaseException, where: Path, name: str, words: Sequence[str]) -> str:
    """Say what was wrong, what was given and what would be right.

    Args:
        error: What hydra or omegaconf raised.
        where: Folder of the recipe.
        name: Name of the recipe.
        words: The command line's overrides.
    """
    text = _sentence(error)
    choice = re.search(r"Could not find '(.+?)' Available options in '(.+?)': (.*?)(?: Config search path:|;|$)", text)
    if choice:
        asked, group, options = choice.groups()
        return str(unknown(group, asked.removeprefix(f"{group}/"), options.split()))
    key = re.search(r"Could not override '([^']+)'", text)
    if key:
        asked = key[1].lstrip("+~")
        return str(unknown("setting", asked.partition("@")[0], _settings(where, name, words)))
    if "Config group override must be a string or a list" in text:
        return "a choice of component must be its name, not null; to do without one, take it out: '~guidance'"
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        key = getattr(error, "full_key", None) or missing[1]
        about = _comment(where / f"{name}.yaml", key)
        return f"{key} must be given: {key}=...{about and f' ({about})'}"
    if "submitit" in text or "srun" in text:
        return f"jobs of SLURM need pip install 'flowguide[slurm]', and a machine that has srun ({text})"
    return text


def _sentence(error: BaseException | None) -> str:
    """The error and its causes in a line, without omegaconf's notes on keys and types."""
    parts = []
    while error is not None:
        lines = [line.strip() for line in str(error).splitlines()]
        parts.append(" ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type="))))
        error = error.__cause__
    return "; ".join(dict.fromkeys(part for part in parts if part))


def _comment(file: Path, setting: str) -> str:
    """What a recipe says of a setting that it leaves open, ``folder: ???  # where the files lie``; or nothing."""
    key = setting.rpartition(".")[2]
    found = re.search(rf"^ *{key}: *\?\?\? *# *(.+)$", file.read_text(), re.MULTILINE) if file.is_file() else None
    return found[1].strip() if found else ""


def _settings(where: Path, name: str, words: Sequence[str]) -> list[str]:
    """Every setting of the recipe, by dotted name, with those choices of components made that the words make."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    from .recipes import folder, groups

    choices = [word for word in words if word.partition("=")[0] in groups() and "," not in word]
    search = [f"hydra.searchpath=[file://{where}]"] if where != folder() else []
    GlobalHydra.instance().clear()
    # Without the other words, this is the configuration that they would have changed.
    for attempt in (choices, []):
        try:
            with initialize_config_dir(str(folder()), version_base="1.3"):
                return _names(OmegaConf.to_container(compose(name, overrides=[*attempt, *search])))
        except Exception:  # a choice may be wrong as well, but it is not what is being explained
            continue
    return []


def _names(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of all settings and groups."""
    names = []
    for key, value in settings.items():
        names.append(f"{prefix}{key}")
        if isinstance(value, Mapping):
            names += _names(value, f"{prefix}{key}.")
    return names
