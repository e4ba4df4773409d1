"""Samples of a trained run, from where it learnt to start: Gaussian noise, or a data set."""

import math

import torch
from torch import Tensor

from .. import data, solvers
from ..fields import Field, LatentField
from ..guidance import Guidance
from ..randomness import uniform
from .config import TrainConfig
from .decoding import Decoder
from .ranks import Ranks


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
    temperature: float = 1.0,
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
        temperature: Factor on what samples start from; below 1 for fewer and more typical ones.
    Returns:
        Shape (num, *config.shape), on the field's device; images, where the field's data are their latents.
    Raises:
        ValueError: if a run with a source is to be sampled by an SDE solver, or latents cannot be decoded.
    """
    ranks = ranks or Ranks()
    share = ranks.share(num)
    index = torch.arange(share.start, share.stop)
    cond = None if cond is None else cond[share.start : share.stop]
    progress = progress and ranks.first
    options = {"batch_size": batch_size, "progress": progress, "temperature": temperature}
    drawn = some_samples(config, field, index, cond, solver, seed, **options)
    return ranks.gathered(drawn, num)


def check_temperature(temperature: float) -> None:
    """ValueError unless it is a factor that noise may have."""
    if not 0 <= temperature < math.inf:
        raise ValueError(
            f"temperature is a factor of at least 0 on the noise that samples start from, not {temperature}"
        )


@torch.no_grad()
def some_samples(
    config: TrainConfig,
    field: Field,
    index: Tensor,
    cond: Tensor | None,
    solver: solvers.Solver,
    seed: int = 0,
    *,
    batch_size: int | None = None,
    progress: bool = False,
    temperature: float = 1.0,
) -> Tensor:
    """The samples of a seed with the numbers ``index``, shape (B,), int64; otherwise as :func:`samples`.

    Returns:
        Shape (B, *config.shape), or images likewise, on the field's device; B may be 0.
    """
    device = next((each.device for each in field.parameters()), None)
    plain = field.plain if isinstance(field, Guidance) else field
    decode = plain.decoder if isinstance(plain, LatentField) else _as_they_are
    if isinstance(decode, Decoder):
        decode.open(device)  # now, before anything is drawn
    if not len(index):  # more processes than samples
        return decode(torch.empty(0, *config.shape, device=device))
    start = None
    first = float(solver.times(field)[0])
    if config.source is not None:
        if solver.stochastic:
            raise ValueError(
                f"this run starts from the data set {config.source['name']!r} and not from noise, and so has no score: "
                f"{type(solver).__name__}, which draws noise, cannot sample it; choose an ODE solver"
            )
        source = data.registry.build_from(config.source, split="test")
        chosen = (uniform((len(index), 1), seed, first=index, dtype=torch.float64)[:, 0] * len(source)).long()
        # As noise is: the path's scale at the first time, at which next to nothing is left of the data.
        start = source[chosen] * float(field.path.sigma(torch.tensor(first, dtype=torch.float64)))
    elif temperature != 1:
        start = field.path.prior((len(index), *config.shape), seed, t=first, first=index, device=device)
    start = None if start is None else temperature * start
    options = {"start": start, "first": index, "batch_size": batch_size, "progress": progress}
    return decode(solvers.sample(field, (len(index), *config.shape), cond, solver, seed, **options))


def _as_they_are(samples: Tensor) -> Tensor:
    return samples
