r"""A cascade: a stage makes small images, and each of the next ones larger images of those.

.. math:: x^1 \sim p_1(x \mid y), \qquad
    x^{k+1} \sim p_{k+1}\big( x \mid \sqrt{1 - s^2}\, x^k + s\, \varepsilon,\ s,\ y \big).

Every stage is a run by itself, with a guidance rule and a solver of its own. Between stages, images are clipped to
[-1, 1], where data are, and given noise of the level s.

Source: Ho et al. (2021), arXiv 2106.15282; Saharia et al. (2022), arXiv 2205.11487.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .. import guidance as rules
from .. import solvers
from ..fields import Field, Given, NetworkField
from ..options import check_options
from ..randomness import derive
from .assemble import load_generative
from .held_out import low_resolution
from .models import with_models
from .ranks import Ranks
from .samples import samples

_LEVEL = 0.1
_NOISE = 1  # the stream of a stage's seed for the noise of its images; its own noise has the seed itself


@dataclass(frozen=True)
class Stage:
    """One stage of a cascade.

    Attributes:
        model: A trained model, as :func:`flowguide.load` gives it.
        solver: Any solver.
        guidance: Node of a guidance rule; None to sample the conditional field as it is.
        augmentation: Level of the noise on the images of the stage before; None for 0.1, or less if it was trained
            with less. The first stage has no use for it.
        name: What it is called in messages.
        ema: Which weights other models of its rule have (:func:`.with_models`).
    """

    model: Field
    solver: solvers.Solver
    guidance: Mapping[str, Any] | None = None
    augmentation: float | None = None
    name: str = "a stage"
    ema: bool | float = True

    @property
    def plain(self) -> NetworkField:
        """The field, without the images that it may have been given to be sampled by itself."""
        return self.model.field if isinstance(self.model, Given) else self.model

    @property
    def num_classes(self) -> int | None:
        """Of the labels it is asked for."""
        network = self.plain.network
        if self.plain.told == "never":
            return None
        return network.labels if network.extra_channels else network.num_classes

    @property
    def level(self) -> float:
        """Of the noise on the images that it is shown."""
        if self.augmentation is not None:
            return self.augmentation
        shown = low_resolution(self.plain.config)
        return 0.0 if shown is None else min(_LEVEL, shown.augmentation or 0.0)

    def samples(
        self,
        num: int,
        cond: Tensor | None = None,
        seed: int = 0,
        images: Tensor | None = None,
        *,
        batch_size: int = 256,
        progress: bool = False,
        ranks: Ranks | None = None,
    ) -> Tensor:
        """What this stage makes.

        Args:
            num, cond, seed, batch_size, progress, ranks: As for :func:`.cascade`.
            images: What the stage before made, shape (num, channels, size, size); None if this is the first.
        Returns:
            Shape (num, channels, height, width).
        """
        field = self.plain
        if images is not None:
            shown = low_resolution(field.config)
            field = Given(field, shown.show(images.clamp(-1, 1), self.level, derive(seed, _NOISE)))
            field.config = self.plain.config
        if self.guidance is not None:
            field = rules.registry.build_from(with_models(self.guidance, field, self.ema), field)
        cond = None if self.num_classes is None else cond
        options = {"batch_size": batch_size, "progress": progress, "ranks": ranks}
        return samples(self.plain.config, field, num, cond, self.solver, seed, **options)


@torch.no_grad()
def cascade(
    stages: Sequence[Stage],
    num: int,
    cond: Tensor | None = None,
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
        cond: Labels, one per sample, or None.
        seed: Sample i of a seed is the same in every batch. The first stage has the seed itself, so that its samples
            are those of its run; the seeds of the others are derived from it.
        batch_size, progress, ranks: As for :func:`.samples`.
    Returns:
        What each stage made, shape (num, channels, height, width), the result last.
    Raises:
        ValueError: if the stages do not chain.
    """
    check_stages(stages)
    made: list[Tensor] = []
    for number, stage in enumerate(stages):
        own, images = (derive(seed, number), made[-1]) if number else (seed, None)
        made.append(stage.samples(num, cond, own, images, batch_size=batch_size, progress=progress, ranks=ranks))
    return made


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
        if stage.num_classes not in (None, stages[0].num_classes):
            raise ValueError(
                f"the stages have other labels: {stages[0].name} has {stages[0].num_classes or 'none'}, and "
                f"{stage.name} {stage.num_classes}"
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
