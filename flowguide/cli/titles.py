"""What a file of samples is called: what tells its samples from others that may lie beside them.

The rule and its weight, the solver and its steps, and the seed are always said: ``cfg_w1_auto20_seed0``. What else is
not as a recipe has it is said if it is a word, and otherwise by a digest at the end, so that the same settings have the
same name, and other ones another. How many samples there are is none of it: sample i is the same among any number.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import guidance, solvers
from ..digest import digest_of
from ..registry import Registry

Node = Mapping[str, Any]


def title_of(
    rule: Node | None, solver: Node, seed: int, cond: Any = None, told: Sequence[str] = (), more: Node | None = None
) -> str:
    """The name, without a suffix.

    Args:
        rule: Node of a guidance rule; None if there is none.
        solver: Node of the solver.
        seed: Of the noise.
        cond: What the samples are asked to be; None for all in turn.
        told: More words of the name.
        more: More settings, which the digest tells; those that are None say nothing.
    """
    w = rule.get("w") if rule else None
    number = isinstance(w, (int, float))
    word = isinstance(cond, int) or (isinstance(cond, str) and re.fullmatch(r"[A-Za-z][\w-]{0,19}", cond) is not None)
    rest = {
        "guidance": _others(guidance.registry, rule, {"w"} if number else set()),
        "solver": _others(solvers.registry, solver, {"steps"}),
        "cond": None if word else cond,
        **(more or {}),
    }
    rest = {name: value for name, value in rest.items() if value is not None}
    words = [
        (rule["name"] if rule else "unguided") + (f"_w{w:g}" if number else ""),
        f"{solver['name']}{solver.get('steps', '')}",
        f"seed{seed}",
        *told,
        *([f"cond{cond}"] if word else []),
        *([digest_of(rest)[:6]] if rest else []),
    ]
    return "_".join(words)


def words_of_weights(run: str, home: str, ema: bool | float) -> list[str]:
    """Which weights of a run are sampled, where it is not the averaged ones of its newest checkpoint."""
    file = [] if Path(run) == Path(home) else [Path(run).name.removesuffix(".safetensors")]
    return file + ([] if ema is True else ["last"] if ema is False else [f"ema{ema:g}"])


def _others(registry: Registry, node: Node | None, told: set[str]) -> dict[str, Any] | None:
    """The options of a component that are not at their defaults, without those that are told; None if none are."""
    if node is None:
        return None
    defaults = registry.defaults(node["name"])
    others = {key: each for key, each in node.items() if key not in told and each != _as_read(defaults.get(key))}
    return others or None


def _as_read(default: Any) -> Any:
    """As a recipe has it."""
    return list(default) if isinstance(default, tuple) else default
