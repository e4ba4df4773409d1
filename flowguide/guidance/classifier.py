r"""Classifier guidance: the gradient of a classifier of noisy states.

.. math:: \tilde s(x \mid y) = s(x) + w\, \nabla_x \log p_t(y \mid x),

which by Bayes' rule is unconditional for :math:`w = 0` and conditional for :math:`w = 1`, and for exact fields is what
classifier-free guidance of the same weight is. In other kinds, with :math:`g = \nabla_x \log p_t(y \mid x) / \alpha`,

.. math::
    \tilde\varepsilon = \hat\varepsilon - w\, \alpha \sigma g, \qquad
    \tilde z = \hat z + w\, \sigma^2 g, \qquad
    \tilde u = u + w\, \sigma (\dot\alpha\sigma - \alpha\dot\sigma)\, g,

so that any solver takes it. On a path that keeps the variance, ``ddim`` with eta = 0 is algorithm 2 of the paper. With
eta = 1 it is algorithm 1 with :math:`\Sigma_t = \beta_t`, except that a step from t to s shifts the mean by
:math:`\alpha_s / \alpha_t` times as much, which tends to 1 as steps become short.

Source: Dhariwal & Nichol (2021), arXiv 2105.05233, section 4, algorithms 1 and 2; guiding a field that is conditional
already is what their section 4.3 does.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from ..fields import Field, Posterior
from ..paths import Prediction, per_sample
from .base import Guidance, guidance
from .weights import Weight, as_weight, weight_at


@guidance.register("classifier")
class ClassifierGuidance(Guidance):
    """Classifier guidance: the score plus w times the gradient of a noisy classifier's log-probability.

    Args:
        field: The field to guide; one that takes no conditions can be guided too.
        classifier: Of the states of the same path; in a recipe, a run folder.
        w: The weight: a number, one per sample, shape (B,), or a schedule.
        base: What is guided: the "unconditional" field, so that w = 1 is conditional, or the "conditional" one, so that
            w = 0 is.
    Raises:
        ValueError: if the classifier is none of noisy states, is of another path or other classes, or w is not finite.

    That w = 1 is conditional holds as far as the classifier is the posterior of the field's own law.
    """

    affine_in_w = True

    def __init__(
        self,
        field: Field,
        classifier: Posterior,
        w: Weight = 1.0,
        base: Literal["unconditional", "conditional"] = "unconditional",
    ) -> None:
        super().__init__(field)
        _check(field, classifier, base)
        self.classifier = classifier
        self.w = as_weight(w)
        self.base = base
        self.starts_at_reference = self.conditional_at_1 = base == "unconditional"
        self.num_classes = classifier.num_classes

    @property
    def power(self) -> float | None:
        """w, and that of the field besides if it is the conditional one that is guided."""
        if not isinstance(self.w, float):
            return None
        if self.base == "unconditional":
            return self.w
        return None if self.field.power is None else self.field.power + self.w

    @property
    def t_min(self) -> float:
        return max(self.field.t_min, self.classifier.t_min)

    @property
    def t_max(self) -> float:
        return min(self.field.t_max, self.classifier.t_max)

    def null(self, batch: int) -> Tensor | None:
        null = self.field.null(batch)
        if null is not None or self.needs_condition:
            return null
        device = next((p.device for p in self.parameters()), None)
        return torch.full((batch,), self.classifier.num_classes, device=device)

    def check_condition(self, cond: Tensor | None, batch: int) -> None:
        Field.check_condition(self, cond, batch)  # labels of the classifier, whatever the field takes

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        w = per_sample(weight_at(self.w, t, x), x.ndim)
        prediction = self.field(x, t, cond if self.base == "conditional" else None)
        if cond is None or (isinstance(w, float) and w == 0):
            return prediction
        return prediction.tilted(w * self.classifier.gradient(x, t, cond))

    def with_conditional(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        if self.field.takes_conditions:
            return super().with_conditional(x, t, cond)
        # Of a field that takes no conditions the classifier makes the conditional prediction too.
        w, plain = per_sample(weight_at(self.w, t, x), x.ndim), self.field(x, t, None)
        if cond is None:
            return plain, plain
        gradient = self.classifier.gradient(x, t, cond)
        return plain.tilted(w * gradient), plain.tilted(gradient)


def _check(field: Field, classifier: Posterior, base: str) -> None:
    """ValueError unless the classifier can guide the field."""
    if not isinstance(classifier, Posterior):
        what = (
            f"{type(classifier).__name__} is none" if isinstance(classifier, nn.Module) else f"not {classifier!r:.80}"
        )
        raise ValueError(
            f"classifier guidance needs a Posterior, a classifier of noisy states with its path (a NetworkPosterior, "
            f"as the objective 'noisy_classifier' trains it, or a MixturePosterior); {what}"
        )
    if classifier.path != field.path:
        raise ValueError(
            f"the classifier knows the states of the path {classifier.path!r}, and the field is on {field.path!r}: "
            f"train the classifier on the path of the field"
        )
    labelled = field.takes_conditions
    if labelled and classifier.num_classes != field.num_classes:
        takes = "conditions that are no labels" if field.num_classes is None else f"{field.num_classes} classes"
        raise ValueError(f"the classifier tells {classifier.num_classes} classes apart, and the field takes {takes}")
    if base not in ("unconditional", "conditional"):
        raise ValueError(f"base is 'unconditional' or 'conditional', not {base!r}")
    if base == "unconditional" and field.needs_condition:
        raise ValueError("this field has no null condition and so no unconditional prediction; take base='conditional'")
    if base == "conditional" and not labelled:
        raise ValueError("base='conditional' guides a field that takes conditions, and this one takes none")
