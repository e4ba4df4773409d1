"""Every guidance rule, built with what it needs, and what it guides away from; and a field that counts."""

import torch
from torch import Tensor

import flowguide as fg
from flowguide import fields

NAMES = fg.guidance.names()


class Counting(fg.Field):
    """A field that counts its evaluations, and the samples in them."""

    def __init__(self, field: fg.Field) -> None:
        super().__init__()
        self.field, self.path, self.num_classes, self.count, self.samples = field, field.path, field.num_classes, 0, 0

    def null(self, batch: int) -> Tensor | None:
        return self.field.null(batch)

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> fg.paths.Prediction:
        self.count += 1
        self.samples += len(x)
        return self.field(x, t, cond)


class Toy(fg.Field):
    """States of any shape and dtype; a prediction that depends on all of a sample and on its label."""

    num_classes = 3

    def __init__(self, path: fg.paths.Path, slope: float = 1.0) -> None:
        super().__init__()
        self.path, self.slope = path, slope

    def null(self, batch: int) -> Tensor:
        return torch.full((batch,), 3)

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> fg.paths.Prediction:
        cond = self.null(len(x)) if cond is None else cond
        rows = [-1, *[1] * (x.ndim - 1)]
        level = x.flatten(1).mean(1).reshape(rows) + 0.3 * cond.to(x).reshape(rows)
        return self.path.predict("velocity", torch.tanh(self.slope * x + level) + 0.1 * x.roll(1, -1), x, t)


def weak(field: fg.Field) -> fg.Field:
    """A weaker version of a field: broader components."""
    if not isinstance(field, fg.MixtureField):
        return field if isinstance(field, Counting) else Toy(field.path, 0.5)
    parts, labels = field.mixture._exact, field.mixture.labels
    covariances = parts.eigenvectors @ torch.diag_embed(1.5 * parts.eigenvalues + 0.1) @ parts.eigenvectors.mT
    broad = fg.oracle.GaussianMixture(
        parts.log_weights[-1].exp(), parts.means, (covariances + covariances.mT) / 2, labels
    )
    return fg.MixtureField(broad, field.path)


class ToyPosterior(fields.Posterior):
    """Of states of any shape: three labels."""

    num_classes = 3

    def __init__(self, path: fg.paths.Path) -> None:
        super().__init__()
        self.path = path

    def log_probs(self, scaled: Tensor, t: Tensor) -> Tensor:
        level = scaled.flatten(1).tanh().mean(1, keepdim=True)
        return (level * torch.arange(3, device=scaled.device)).log_softmax(1)


def posterior(field: fg.Field) -> fields.Posterior:
    exact = isinstance(field, fg.MixtureField)
    return fields.MixturePosterior(field.mixture, field.path) if exact else ToyPosterior(field.path)


def log_ratio(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
    return x.flatten(1).sum(1).tanh() / 2


def observes(name: str) -> bool:
    """Whether a rule is guided by an observation; then it needs one, and no conditions."""
    return "observation" in fg.guidance.registry.options(name)


def options(name: str, field: fg.Field) -> dict:
    """What a rule cannot do without."""
    if observes(name):
        return {"observation": fg.observations.build("mask", std=0.5), "observed": 0.3}
    if name == "feedback":
        return {} if isinstance(field, fg.MixtureField) else {"log_ratio": log_ratio}
    if name == "classifier":
        return {"classifier": posterior(field)}
    return {"autoguidance": {"weak": weak(field)}, "negative": {"negative": 0}}.get(name, {})


def build(name: str, field: fg.Field, **more) -> fg.guidance.Guidance:
    return fg.guidance.build(name, field, **{**options(name, field), **more})


def weighted(name: str) -> bool:
    """Whether a rule has a weight; a user's rule may have none."""
    return "w" in fg.guidance.registry.options(name)


def reference(name: str, field: fg.Field, x: Tensor, t: Tensor, y: Tensor) -> fg.paths.Prediction:
    """What a rule guides away from, said independently of the rule."""
    if name == "autoguidance":
        return weak(field)(x, t, y)
    return field(x, t, torch.zeros_like(y) if name == "negative" else None)
