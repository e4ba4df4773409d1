"""``flowguide ema``: averages of a run's weights of any length, after it was trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from .. import training
from ..registry import unknown

_EXAMPLE = "flowguide ema runs/digits --sigma-rel 0.05"
_OPTIONS = ("sigma_rel", "step")


def run(words: Sequence[str]) -> None:
    """Make the averages, write them beside the snapshots, and say how good they are.

    Args:
        words: The run folder or a checkpoint in one, and options as ``sigma_rel=0.05`` or ``--sigma-rel 0.05``.
    Raises:
        ValueError: if the words are not of that kind, or the run has no such average.
    """
    run, options = _read(words)
    lengths, step = _numbers(options.get("sigma_rel")), options.get("step")
    if step is not None and (not isinstance(step, int) or isinstance(step, bool)):
        raise ValueError(f"step must be an integer, not {step!r}")
    for length in lengths:  # all of them before the first is made
        training.averages.gamma_of(length)
    for length in lengths:
        file, made = training.write_averaged(run, length, step)
        missed = f"{100 * made.residual:.2g} % of what averaging changes is missed"
        print(f"sigma_rel={length:g} at step {made.profile.step}, where {missed}: {file}")
    print(f"next: flowguide sample {file}")


def _read(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The run, and the options by name."""
    runs: list[str] = []
    options: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if not word.startswith("--") and (not equals or Path(word).exists()):
            runs.append(word)
            continue
        option = name.removeprefix("--").replace("-", "_") if word.startswith("--") else name
        if option not in _OPTIONS:
            raise unknown("option of flowguide ema", name, _OPTIONS)
        if not equals:
            value = next(rest, None)
            if value is None:
                raise ValueError(f"{word} needs a value after it")
        try:
            options[option] = yaml.safe_load(f"[{value}]" if "," in value and "[" not in value else value)
        except yaml.YAMLError:
            raise ValueError(f"{word} cannot be read; write lists as {name}=[0.03,0.05]") from None
    if len(runs) != 1:
        raise ValueError(f"which run? Name one, for example: {_EXAMPLE}")
    return runs[0], options


def _numbers(given: Any) -> list[float]:
    """One number or a list of them; YAML takes 5e-2, without a point, for a word."""
    several = given if isinstance(given, list) else [given]
    try:
        if not several or any(isinstance(each, bool) for each in several):
            raise ValueError
        return [float(each) for each in several]
    except (TypeError, ValueError):
        shown = "it is missing" if given is None else f"not {given!r}"
        raise ValueError(f"sigma_rel must be a number or a list of numbers; {shown}. For example: {_EXAMPLE}") from None
