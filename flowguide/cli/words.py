"""The words of a command line, as hydra wants them."""

from collections.abc import Collection, Sequence

from ..registry import unknown

# hydra's flags that make sense here, and whether a value follows.
_FLAGS = {
    "--multirun": False,
    "-m": False,
    "--config-dir": True,
    "-cd": True,
    "--cfg": True,
    "-c": True,
    "--resolve": False,
    "--package": True,
    "-p": True,
}


def flags_and_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Two lists, since hydra's parser wants its flags together, wherever a user wrote them; ValueError if unknown."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            overrides.append(word)
            continue
        flag, equals, _ = word.partition("=")
        if flag not in _FLAGS:
            raise unknown("flag", word, _FLAGS)
        flags.append(word)
        if _FLAGS[flag] and not equals:
            value = next(rest, None)
            if value is None:
                raise ValueError(f"{word} needs a value after it")
            flags.append(value)
    return flags, overrides


def overridden(key: str, words: Sequence[str]) -> bool:
    """Whether a setting is among them."""
    return any(word.lstrip("+").partition("=")[0] == key for word in words)


def check_folders(words: Sequence[str]) -> None:
    """ValueError if a folder is said to be nothing, as by a variable that is not set: it would be the current one."""
    for word in words:
        key, equals, value = word.lstrip("+").partition("=")
        if key in ("run", "out") and equals and not value.strip("'\" "):
            raise ValueError(f"{word} names no folder (is a variable of the shell not set?): give one, {key}=runs/mine")


def without(word: str, choices: Collection[str]) -> str:
    """A word that chooses null, ``guidance=null``, as the one that takes the choice out, ``~guidance``; others as is.

    Args:
        word: An override.
        choices: What is chosen by name.
    """
    key, _, value = word.partition("=")
    return f"~{key}" if value == "null" and key.partition("@")[0] in choices else word
