r"""Headline numbers and their standard errors.

A root mean square and a ratio of two are functions of means over samples, and by the delta method

.. math::
    r = \sqrt{N / D}, \quad N = \frac1B \sum_i n_i, \; D = \frac1B \sum_i d_i
    \;\Rightarrow\; \mathrm{se}(r)^2 = \frac{1}{4 r^2 D^2}\, \frac{\mathrm{Var}(n - r^2 d)}{B}.

A ratio of averages is what this gives: an average of ratios would be the ratio of no field, and is biased where the
parts are estimated.
"""

import math
from typing import Any

import torch
from torch import Tensor

from .base import Finding


def root_of_ratio(numerators: Tensor, denominators: Tensor) -> tuple[float, float]:
    """The root of a ratio of averages over draws, each shape (N,), and its standard error; 0 for 0 / 0."""
    n, d = numerators.double(), denominators.double()
    top, bottom = float(n.mean()), float(d.mean())
    if bottom == 0 or top <= 0:
        return 0.0 if top <= 0 else math.inf, 0.0
    ratio = top / bottom
    spread = float((n - ratio * d).std()) / math.sqrt(len(n)) / bottom if len(n) > 1 else 0.0
    return math.sqrt(ratio), spread / (2 * math.sqrt(ratio))


def root_mean(squares: Tensor) -> tuple[float, float]:
    """The root of an average over draws, shape (N,), and its standard error; 0 if the average is not positive."""
    return root_of_ratio(squares, torch.ones_like(squares, dtype=torch.float64))


def finding_of_squares(squares: Tensor, **parts: Any) -> Finding:
    """A root mean square over samples, from their squares, shape (B,); an unbiased estimate of one may be negative."""
    value, error = root_mean(squares)
    return Finding(value, error, squares.clamp(min=0).sqrt(), parts)


def squared_mean(draws: Tensor) -> Tensor:
    """Squared length of the mean of what is drawn, without bias, shape (B,), from draws of shape (N, B, *).

    The square of an average is too large by the variance of it; the products of different draws are not, though their
    average may be negative. One draw is taken to be exact.
    """
    flat = draws.reshape(len(draws), draws.shape[1], -1).double()
    count = len(flat)
    if count == 1:
        return flat[0].square().sum(1)
    return (flat.sum(0).square().sum(1) - flat.square().sum((0, 2))) / (count * (count - 1))
