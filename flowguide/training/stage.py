r"""One stage of a cascade: a trained run, how it is sampled, and what it is shown of the stage before it.

.. math:: x^{k+1} \sim p_{k+1}\big( x \mid \sqrt{1 - s^2}\, x^k + s\, \varepsilon,\ s,\ y \big).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .. import guidance as rules
from .. import solvers
from ..fields import Field, Given, NetworkField
from ..fields.given import Images
from ..randomness import derive
from .conditions import Asking
from .held_out import low_resolution
from .models import with_models
from .ranks import Ranks
from .samples import samples, some_samples

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
    def is_told(self) -> bool:
        """Whether it is told labels or captions, beside images if it is shown some."""
        return self.plain.told != "never" and self.plain.network.is_told

    @property
    def num_classes(self) -> int | None:
        """Of the labels it is asked for."""
        network = self.plain.network
        if not self.is_told:
            return None
        return network.labels if network.extra_channels else network.num_classes

    @property
    def asking(self) -> Asking | None:
        """What makes its conditions of words; None if it is told nothing."""
        return self.plain.asks if self.is_told else None

    @property
    def level(self) -> float:
        """Of the noise on the images that it is shown."""
        if self.augmentation is not None:
            return self.augmentation
        shown = low_resolution(self.plain.config)
        return 0.0 if shown is None else min(_LEVEL, shown.augmentation or 0.0)

    def with_models(self) -> "Stage":
        """The same, with the models that its rule names by their folders loaded, once for all samples."""
        if self.guidance is None:
            return self
        return replace(self, guidance=with_models(self.guidance, self.model, self.ema))

    def rule(self, images: Images | None = None) -> Field:
        """What is sampled: its field, shown images, under its rule.

        Args:
            images: As they are shown, for :class:`.Given`; None for those that it is shown by itself.
        """
        field = self.model
        if images is not None:
            field = Given(self.plain, images)
            field.config = self.plain.config
        if self.guidance is None:
            return field
        return rules.registry.build_from(with_models(self.guidance, field, self.ema), field)

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
            num, seed, batch_size, progress, ranks: As for :func:`.cascade`.
            cond: Conditions of this stage, one per sample; a stage that is told nothing ignores them.
            images: What the stage before made, shape (num, channels, size, size); None if this is the first.
        Returns:
            Shape (num, channels, height, width).
        """
        rule = self.rule(None if images is None else self._shown(images, seed))
        cond = cond if self.is_told else None
        options = {"batch_size": batch_size, "progress": progress, "ranks": ranks}
        return samples(self.plain.config, rule, num, cond, self.solver, seed, **options)

    @torch.no_grad()
    def some_samples(
        self,
        index: Tensor,
        cond: Tensor | None = None,
        seed: int = 0,
        images: Tensor | None = None,
        *,
        temperature: float = 1.0,
    ) -> Tensor:
        """The samples of a seed with the numbers ``index``, shape (B,), int64, in one batch; a number may come twice.

        Args:
            index: Which samples.
            cond: Conditions of this stage, shape (B, ...).
            seed: As for :meth:`samples`.
            images: What the stage before made for each, shape (B, channels, size, size); None if this is the first.
            temperature: Factor on the noise that samples start from.
        Returns:
            Shape (B, channels, height, width); B may be 0.
        """
        shown = None if images is None or not len(index) else self._shown(images, seed, index)
        rule = self.rule(None if shown is None else lambda run: shown)
        cond = cond if self.is_told else None
        return some_samples(self.plain.config, rule, index, cond, self.solver, seed, temperature=temperature)

    def _shown(self, images: Tensor, seed: int, first: int | Tensor = 0) -> Tensor:
        """Images of the stage before as this one is shown them: clipped, and with noise."""
        shown = low_resolution(self.plain.config)
        return shown.show(images.clamp(-1, 1), self.level, derive(seed, _NOISE), first)
