r"""Random numbers that depend on (seed, stream, sample) and on nothing else.

Philox-4x32-10 is a counter-based generator: a bijection of 128-bit counters, chosen by a 64-bit key, whose outputs are
statistically independent uniform words. We count with

.. math:: \text{counter} = (\text{block}, \text{stream}, \text{sample}), \qquad \text{key} = \text{seed},

so that noise for sample `i` is the same in any batch, on any device and beside any other samples. There is no state
to store, to seed or to lose. All samples are computed at once, in int64 arithmetic that every torch device has.

Source: Salmon, Moraes, Dror & Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3", SC'11; normals by
Box & Muller (1958).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .devices import sent

_WORD = 0xFFFFFFFF  # the low 32 bits of an int64
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox(counter: Sequence[Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Four uniform 32-bit words per counter.

    Args:
        counter: Four int64 tensors that broadcast together, each in [0, 2^32).
        key: Two integers in [0, 2^32).
    Returns:
        Four int64 tensors of the broadcast shape, each in [0, 2^32).
    """
    return [word.contiguous() for word in _rounds(counter, key)]


def _rounds(counter: Sequence[Any], key: tuple[int, int]) -> tuple[Any, ...]:
    """The rounds of Philox: on int64 tensors, or for a single counter, in far less time, on Python's integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # int64 products wrap modulo 2^64, which keeps all 64 bits of a 32 x 32 bit product.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> 32 & _WORD) ^ c1 ^ k0, p1 & _WORD, (p0 >> 32 & _WORD) ^ c3 ^ k1, p0 & _WORD
        k0, k1 = k0 + _WEYL[0] & _WORD, k1 + _WEYL[1] & _WORD
    return c0, c1, c2, c3


def numbers_of(first: int | Tensor, count: int, device: torch.device | str | None = None) -> Tensor:
    """Which samples the rows of a batch are, int64, shape (B,): those that follow on ``first``, or the ones listed."""
    if not isinstance(first, Tensor):
        if not hasattr(first, "__index__") or first < 0:
            raise ValueError(f"first is the number of the sample in row 0, an integer from 0, not {first!r:.80}")
        return torch.arange(first, first + count, dtype=torch.int64, device=device)
    if first.dtype != torch.int64 or first.shape != (count,):
        kind = str(first.dtype).removeprefix("torch.")
        raise ValueError(
            f"first is the number of the sample in row 0, or of that in every row, int64 of shape ({count},), not "
            f"{kind} of shape {tuple(first.shape)}"
        )
    return sent(first, torch.device(device or "cpu"))


def _words(
    shape: Sequence[int], seed: int, stream: int, first: int | Tensor, device: torch.device | str | None
) -> Tensor:
    """Uniform words, shape (B, blocks, 4): row i belongs to sample ``first + i``, or ``first[i]``."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**64:
        raise ValueError(f"a seed must be an integer in [0, 2^64), not {seed!r}")
    if len(shape) == 0:
        raise ValueError("the shape of random samples begins with the number of samples; got ()")
    blocks = -(-math.prod(shape[1:]) // 4)
    sample = numbers_of(first, shape[0], device)[:, None]
    block = torch.arange(blocks, dtype=torch.int64, device=device)[None]
    counter = (block, torch.full_like(block, stream), sample & _WORD, sample >> 32)
    return torch.stack(philox(counter, (seed & _WORD, seed >> 32)), dim=-1)


def _floating(dtype: torch.dtype | None) -> torch.dtype:
    """The type to draw in; ValueError unless it is a floating one, for others would cut the numbers to integers."""
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(f"random numbers are drawn in a floating dtype, torch.float32 or torch.float64, not {dtype!r}")
    return dtype


def _in_unit_interval(words: Tensor) -> Tensor:
    """Words as the centres of 2^32 cells of (0, 1); in float64, so that every dtype rounds the same numbers."""
    exact = torch.float32 if words.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    return words.to(exact).add_(0.5).mul_(2.0**-32)


def uniform(
    shape: Sequence[int],
    seed: int,
    *,
    stream: int = 0,
    first: int | Tensor = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Uniform numbers in (0, 1), one row per sample; rounding to a short dtype may reach 1.

    Args:
        shape: (B, *).
        seed: Integer in [0, 2^64).
        stream: Which of the independent sequences of this seed: a solver's step, say, in [0, 2^32).
        first: Index of the sample in row 0, or of the sample in every row, int64, shape (B,).
        device: As everywhere in torch.
        dtype: Floating type; the default one if None.
    Returns:
        Shape (B, *); row i depends on (seed, stream, first + i) alone, or (seed, stream, first[i]).
    """
    dtype = _floating(dtype)
    words = _words(shape, seed, stream, first, device)
    numbers = _in_unit_interval(words).flatten(1)[:, : math.prod(shape[1:])]
    return numbers.to(dtype).reshape(tuple(shape))


def normal(
    shape: Sequence[int],
    seed: int,
    *,
    stream: int = 0,
    first: int | Tensor = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Standard normal numbers, one row per sample; arguments as for :func:`uniform`.

    The same numbers come out in float32 and in float64, up to rounding.
    """
    dtype = _floating(dtype)
    numbers = _in_unit_interval(_words(shape, seed, stream, first, device))
    radius = numbers[..., :2].log().mul_(-2).sqrt_()
    angle = numbers[..., 2:].mul_(2 * math.pi)
    normals = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=-1)
    return normals.flatten(1)[:, : math.prod(shape[1:])].to(dtype).reshape(tuple(shape))


def derive(seed: int, *indices: int) -> int:
    """A new seed in [0, 2^63) from a seed and indices (a step, a rank): one Philox call per index.

    With it, every random stream of a training run is a function of (seed, step) and needs no stored state.
    """
    for index in indices:
        counter = (index & _WORD, index >> 32 & _WORD, 0, 1)
        low, high, _, _ = _rounds(counter, (seed & _WORD, seed >> 32 & _WORD))
        seed = low | (high & 0x7FFFFFFF) << 32
    return seed


def seed_layers(seed: int, device: torch.device) -> None:
    """Seed torch's own generators of the host and of ``device``, the only ones that layers such as dropout know.

    For a CPU it costs a microsecond, where torch.manual_seed makes ready for accelerators that there may never be.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
