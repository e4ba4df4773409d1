"""Fields whose faults are known, for the diagnostics to find; and what each diagnostic is asked with."""

from collections.abc import Callable

import torch
from torch import Tensor

import flowguide as fg
from flowguide.paths import Prediction


def toy(path: str = "linear", std: float = 0.5) -> fg.MixtureField:
    """Three round Gaussians in the plane, a label each."""
    return fg.MixtureField(fg.oracle.ring(3, std=std), fg.paths.build(path))


def states(field: fg.MixtureField, t: float, count: int, seed: int = 0, dtype=torch.float64) -> Tensor:
    """Draws of the law of the states at t."""
    data, _ = field.mixture.sample(count, seed, dtype=dtype)
    c = field.path.at(torch.tensor(t, dtype=dtype), data)
    return c.alpha * data + c.sigma * torch.randn(
        data.shape, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )


def turned(v: Tensor) -> Tensor:
    """R90 v: by a right angle counter-clockwise, in the plane."""
    return torch.stack([-v[:, 1], v[:, 0]], 1)


class Wrapped(fg.Field):
    """A field made of an exact one."""

    def __init__(self, field: fg.MixtureField) -> None:
        super().__init__()
        self.field, self.path, self.num_classes, self.shape = field, field.path, field.num_classes, field.shape

    def null(self, batch: int) -> Tensor | None:
        return self.field.null(batch)


class Planted(Wrapped):
    """An exact field and c times its score turned by a right angle (a gauge field), or its state (which is none).

    The exact score is kept, so that stochastic samplers and the gauge of the velocity agree on the density; with
    ``score=True`` the score is turned as well.
    """

    def __init__(self, field: fg.MixtureField, c: float, of: str = "score", score: bool = False) -> None:
        super().__init__(field)
        self.c, self.of, self.turn_score = c, of, score

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        p = self.field(x, t, cond)
        extra = self.c * turned(p.score if self.of == "score" else x)
        score = p.score + extra if self.turn_score else p.score
        return Prediction(p.coefficients, x, velocity=p.velocity + extra, score=score)


class Linear(fg.Field):
    """M x as the prediction of one kind."""

    def __init__(self, matrix: Tensor, kind: str = "data") -> None:
        super().__init__()
        self.path, self.kind = fg.paths.build("linear"), kind
        self.register_buffer("matrix", matrix)

    def null(self, batch: int) -> None:
        return None

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        value = (x.flatten(1) @ self.matrix.T).reshape(x.shape)
        return self.path.predict(self.kind, value, x, t)


class StateWeighted(Wrapped):
    """Guidance with a weight that depends on the state: (1 - w(x)) unconditional + w(x) conditional."""

    def __init__(self, field: fg.MixtureField, weight: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__(field)
        self.weight = weight

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        if cond is None:
            return self.field(x, t, None)
        return self.field(x, t, None).lerp(self.field(x, t, cond), self.weight(x, t, cond))


def of_posterior(field: fg.MixtureField) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """w = f(log p(y | x)): conservative."""
    return lambda x, t, y: 2 + torch.sin(field.log_prob(x, t, y) - field.log_prob(x, t))


def of_difference(field: fg.MixtureField) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """w = f(|s_c - s_u|): not conservative."""

    def weight(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        squares = (field(x, t, y).score - field(x, t).score).square().sum(1)
        return 1 + 3 / (1 + squares)

    return weight


def network(dropout: float = 0.0, images: bool = False, dtype=torch.float64) -> fg.NetworkField:
    """A network with random weights, whose predictions are the gradients of nothing."""
    torch.manual_seed(0)
    if images:
        options = {"channels": 1, "num_classes": 3, "width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [1]}
        made = fg.networks.build("unet", **options, head_width=8, dropout=dropout)
    else:
        made = fg.networks.build("mlp", dim=2, num_classes=3, width=16, depth=2)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return fg.NetworkField(made, fg.paths.build("linear")).to(dtype).eval()


def build(name: str, **more) -> fg.diagnostics.Diagnostic:
    """A diagnostic with what it cannot do without where the field is not exact, and small where it can be."""
    exact = toy()
    needed = {"gauge": {"reference": exact, "cells": 16}, "tilt_error": {"mixture": exact.mixture, "w": 2.0}}
    return fg.diagnostics.build(
        name, **{**needed.get(name, {}), **({"cells": 16} if name == "helmholtz" else {}), **more}
    )
