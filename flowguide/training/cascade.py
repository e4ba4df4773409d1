r"""A cascade: a stage makes small images, and each of the next ones larger images of those.

.. math:: x^1 \sim p_1(x \mid y), \qquad
    x^{k+1} \sim p_{k+1}\big( x \mid \sqrt{1 - s^2}\, x^k + s\, \varepsilon,\ s,\ y \big).

Every stage is a run by itself, with a guidance rule and a solver of its own, and is told y in its own way: a label, or
the embedding of a caption by an encoder of its own. Between stages, images are clipped to [-1, 1], where data are, and
given noise of the level s.

Source: Ho et al. (2021), arXiv 2106.15282; Saharia et al. (2022), arXiv 2205.11487.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .. import solvers
from ..options import check_options
from ..randomness import derive
from .assemble import load_generative
from .conditions import in_turn
from .held_out import low_resolution
from .ranks import Ranks
from .stage import Stage


@torch.no_grad()
def cascade(
    stages: Sequence[Stage],
    num: int,
    cond: Tensor | Sequence[Tensor | None] | None = None,
    seed: int = 0,
    *,
    batch_size: int = 256,
    progress: bool = False,
    ranks: Ranks | None = None,
) -> list[Tensor]:
    """Samples of a cascade.

    Args:
        stages: Two or more, which chain.
        num: How many.
        cond: Conditions, one row per sample, of every stage that is told something: labels, say; or a list with those
            of each stage (:func:`cascade_conditions`); or None.
        seed: Sample i of a seed is the same in every batch. The first stage has the seed itself, so that its samples
            are those of its run; the seeds of the others are derived from it.
        batch_size, progress, ranks: As for :func:`.samples`.
    Returns:
        What each stage made, shape (num, channels, height, width), the result last.
    Raises:
        ValueError: if the stages do not chain, or there are conditions of more or fewer stages.
    """
    check_stages(stages)
    conds = list(cond) if isinstance(cond, (list, tuple)) else [cond] * len(stages)
    if len(conds) != len(stages):
        raise ValueError(f"there are conditions of {len(conds)} stages, and {len(stages)} stages")
    made: list[Tensor] = []
    for number, stage in enumerate(stages):
        images = made[-1] if made else None
        options = {"batch_size": batch_size, "progress": progress, "ranks": ranks}
        made.append(stage.samples(num, conds[number], seed_of(seed, number), images, **options))
    return made


def seed_of(seed: int, stage: int) -> int:
    """The seed of a stage by its number in a cascade of the seed ``seed``; the first one's is the same."""
    return derive(seed, stage) if stage else seed


def cascade_conditions(stages: Sequence[Stage], given: Any, num: int) -> list[Tensor | None]:
    """What a user asks of a cascade, in a user's words, as the conditions of each stage.

    Args:
        stages: Of which each makes conditions as it was trained to be told them.
        given: One thing for all samples, or a list with one for each, as for :meth:`flowguide.Field.conditions`; or
            None for all classes in turn, or, if a stage is told more of a sample, for what held-out samples are told.
        num: How many samples.
    Returns:
        For each stage one row per sample, on the CPU; None for a stage that is told nothing.
    Raises:
        ValueError: if it is nothing that a stage was told; it is named.
    """
    if given is None:
        return in_turn([stage.asking for stage in stages], [stage.num_classes for stage in stages], num).conditions
    if not any(stage.is_told for stage in stages):
        raise ValueError(f"no stage of this cascade takes conditions, so cond must be null, not {given!r}")
    found: list[Tensor | None] = []
    for stage in stages:
        try:
            found.append(stage.plain.conditions(given, num, stage.num_classes) if stage.is_told else None)
        except ValueError as error:
            raise ValueError(f"{stage.name}: {error}") from None
    return found


def check_stages(stages: Sequence[Stage]) -> None:
    """ValueError unless each stage takes what the one before it makes, at a level that it knows."""
    if len(stages) < 2:
        raise ValueError(
            f"a cascade has two stages or more, cascade=[BASE,RUN], not {len(stages)}; one run alone is sampled by "
            f"'flowguide sample RUN'"
        )
    first = low_resolution(stages[0].plain.config)
    if first is not None:
        raise ValueError(
            f"the first stage, {stages[0].name}, is shown images of {first.size}x{first.size}: put a stage that makes "
            f"them before it"
        )
    labelled = next((stage for stage in stages if stage.num_classes is not None), stages[0])
    for before, stage in pairwise(stages):
        shown = low_resolution(stage.plain.config)
        if shown is None:
            raise ValueError(
                f"{stage.name} is shown no image, and so cannot come after {before.name}: a later stage is trained "
                f"with conditioner=low_resolution"
            )
        made, own = before.plain.config.shape, stage.plain.config.shape
        takes = (own[0], shown.size, shown.size)
        if tuple(made) != takes:
            raise ValueError(
                f"the stages do not chain: {before.name} makes images of {_size(made)}, and {stage.name} is shown "
                f"those of {_size(takes)}"
            )
        if stage.is_told and not stages[0].is_told:
            raise ValueError(
                f"{stages[0].name}, the first stage, is told nothing, and {stage.name} is: what small images are of by "
                f"chance cannot be told of the large ones"
            )
        if stage.num_classes not in (None, labelled.num_classes):
            raise ValueError(
                f"the stages have other labels: {labelled.name} has {labelled.num_classes}, and {stage.name} "
                f"{stage.num_classes}"
            )
        try:
            shown.check(stage.level)
        except ValueError as error:
            raise ValueError(f"{stage.name}: {error}") from None


def _size(shape: Sequence[int]) -> str:
    """Channels x height x width."""
    return "x".join(map(str, shape))


@dataclass(frozen=True)
class _StageNode:
    """What may be said of a stage in a list of them."""

    run: str
    guidance: Mapping[str, Any] | None = None
    solver: Mapping[str, Any] | None = None
    augmentation: float | None = None


def load_stages(
    nodes: Sequence[str | Mapping[str, Any]],
    guidance: Mapping[str, Any] | None,
    solver: Mapping[str, Any],
    augmentation: float | None = None,
    ema: bool | float = True,
    device: str = "auto",
) -> list[Stage]:
    """The stages that a list names, checked.

    Args:
        nodes: A run folder each, or ``{run: ..., guidance: ..., solver: ..., augmentation: ...}``.
        guidance, solver, augmentation: For stages that say nothing of their own.
        ema, device: See :func:`flowguide.load`.
    Raises:
        ValueError: if a node is wrong, there is no such run, or the stages do not chain.
    """
    stages = []
    for node in nodes:
        given = {"run": node} if isinstance(node, str) else node
        if not isinstance(given, Mapping):
            raise ValueError(f"a stage of a cascade is a run folder, or {{run: ..., guidance: ...}}, not {node!r}")
        own = _StageNode(**check_options("a stage of a cascade", _StageNode, (), given))
        stages.append(
            Stage(
                load_generative(own.run, ema, device),
                solvers.registry.build_from(own.solver or solver),
                own.guidance if "guidance" in given else guidance,
                augmentation if own.augmentation is None else own.augmentation,
                str(own.run),
                ema,
            )
        )
    check_stages(stages)
    return stages
