"""Samples of a trained run, from where it learnt to start: Gaussian noise, or a data set."""

import torch
from torch import Tensor

from .. import data, solvers
from ..fields import Field, LatentField
from ..guidance import Guidance
from ..randomness import uniform
from .config import TrainConfig
from .decoding import Decoder
from .ranks import Ranks


@torch.no_grad()
def samples(
    config: TrainConfig,
    field: Field,
    num: int,
    cond: Tensor | None,
    solver: solvers.Solver,
    seed: int = 0,
    *,
    batch_size: int = 256,
    progress: bool = False,
    ranks: Ranks | None = None,
) -> Tensor:
    """As :func:`flowguide.sample`, for a run that may have a source: it then starts from the source's test split.

    Args:
        config: Of the run.
        field: Its model, guided or not.
        num: How many.
        cond: Conditions, one per sample, or None.
        solver: Any solver.
        seed: Sample i of a seed starts from the same noise, or the same sample of the source, in every batch.
        batch_size: Samples per evaluation of the field.
        progress: Show a progress bar.
        ranks: Who draws: each its share of the samples, and all of them get all. None for this process alone.
    Returns:
        Shape (num, *config.shape), on the field's device; images, where the field's data are their latents.
    Raises:
        ValueError: if a run with a source is to be sampled by an SDE solver, or latents cannot be decoded.
    """
    ranks = ranks or Ranks()
    plain, device = field.plain if isinstance(field, Guidance) else field, next(field.parameters()).device
    decoder = plain.decoder if isinstance(plain, LatentField) else None
    if isinstance(decoder, Decoder):
        decoder.open(device)  # now, before anything is drawn
    share = ranks.share(num)
    options = {"batch_size": batch_size, "progress": progress and ranks.first, "first": share.start}
    if config.source is not None:
        if solver.stochastic:
            raise ValueError(
                f"this run starts from the data set {config.source['name']!r} and not from noise, and so has no score: "
                f"{type(solver).__name__}, which draws noise, cannot sample it; choose an ODE solver"
            )
        starts = data.registry.build_from(config.source, split="test")
        chosen = (uniform((num, 1), seed, dtype=torch.float64)[:, 0] * len(starts)).long()
        # As noise is: the path's scale at the first time, at which next to nothing is left of the data.
        options["start"] = starts[chosen[share.start : share.stop]] * float(field.path.sigma(solver.times(field)[0]))
    if not share:  # more processes than samples
        none = torch.empty(0, *config.shape, device=device)
        return ranks.gathered(none if decoder is None else decoder(none), num)
    cond = None if cond is None else cond[share.start : share.stop]
    drawn = solvers.sample(field, (len(share), *config.shape), cond, solver, seed, **options)
    return ranks.gathered(drawn if decoder is None else decoder(drawn), num)
