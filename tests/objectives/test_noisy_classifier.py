"""The objective of noisy classifiers: cross-entropy on the states of the path, and accuracy by time."""

import math

import pytest
import torch

import flowguide as fg
from flowguide.fields import MixturePosterior, NetworkPosterior, Posterior
from flowguide.objectives.noisy_classifier import accuracies


class Blurred(Posterior):
    """The exact posterior with its logits multiplied: wrong in a known way."""

    def __init__(self, exact: MixturePosterior, factor: float) -> None:
        super().__init__()
        self.exact, self.path, self.num_classes, self.factor = exact, exact.path, exact.num_classes, factor

    def log_probs(self, scaled, t):
        return (self.factor * self.exact.log_probs(scaled, t)).log_softmax(1)


def exact(path: str, std: float = 0.6) -> MixturePosterior:
    return MixturePosterior(fg.oracle.ring(3, std=std), fg.paths.build(path))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("path", fg.paths.names())
def test_the_exact_posterior_is_the_minimiser(path: str) -> None:
    """What any other loses to it is a Kullback-Leibler divergence, sample by sample in the mean."""
    classifier = exact(path)
    data, labels = classifier.mixture.sample(20000, seed=1, dtype=torch.float64)
    objective = fg.objectives.build("noisy_classifier")
    best = objective.losses(classifier, data, labels, generator())
    for factor in (0.5, 2.0):
        excess = objective.losses(Blurred(classifier, factor), data, labels, generator()) - best
        assert excess.mean() > 3 * excess.std() / len(data) ** 0.5


def test_it_is_cross_entropy_on_states_of_the_path() -> None:
    classifier = exact("vp")
    data, labels = classifier.mixture.sample(32, seed=1, dtype=torch.float64)
    loss = fg.objectives.build("noisy_classifier", time="logit_normal")(
        classifier, data=data, cond=labels, generator=generator()
    )
    g = generator()
    times = fg.objectives.time_samplings.build("logit_normal")
    t, _ = times.draw(32, classifier.path, classifier.t_min, classifier.t_max, generator=g, dtype=torch.float64)
    noise = torch.randn(32, 2, generator=g, dtype=torch.float64)
    c = classifier.path.at(t, data)
    state = c.alpha * data + c.sigma * noise
    torch.testing.assert_close(loss, -classifier.log_prob(state, t, labels).mean())


def test_importance_sampled_times_leave_the_expectation() -> None:
    classifier = exact("linear")
    data, labels = classifier.mixture.sample(40000, seed=1, dtype=torch.float64)
    uniform, importance = (
        fg.objectives.build("noisy_classifier", time=time).losses(classifier, data, labels, generator())
        for time in ("uniform", "importance")
    )
    error = (uniform.var() + importance.var()).sqrt() / len(data) ** 0.5
    assert abs(uniform.mean() - importance.mean()) < 4 * error


def test_shifts_and_smoothing() -> None:
    network = fg.networks.build("unet_encoder", channels=1, num_classes=3, size=[8, 8], width=8, head_width=8)
    classifier = NetworkPosterior(network, fg.paths.build("linear")).eval()
    torch.nn.init.normal_(network.leave[1].weight)
    images, labels = torch.randn(6, 1, 8, 8), torch.arange(6) % 3
    plain, shifted, smooth = (
        fg.objectives.build("noisy_classifier", **options)(classifier, data=images, cond=labels, generator=generator())
        for options in ({}, {"shift": 1}, {"label_smoothing": 0.3})
    )
    assert len({plain.item(), shifted.item(), smooth.item()}) == 3


def test_accuracy_is_reported_by_time() -> None:
    right, t = torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.tensor([0.0, 0.2, 0.6, 1.0])
    report = accuracies(right, t, 0.0, 1.0)
    assert list(report) == [f"accuracy/t_{a}_to_{b}" for a, b in (("0", "0.25"), ("0.25", "0.5"), ("0.5", "0.75"),
                                                                  ("0.75", "1"))]  # fmt: skip
    first, second, third, last = (float(number) for number in report.values())
    assert (first, third, last) == (0.5, 1.0, 1.0)
    assert math.isnan(second)
    classifier = exact("linear", std=0.1)
    data, labels = classifier.mixture.sample(4000, seed=1)
    objective = fg.objectives.build("noisy_classifier")
    assert objective.report == {}
    objective(classifier, data=data, cond=labels)
    early, *_, late = objective.report.values()
    assert early < 0.75
    assert late > 0.99


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fg.objectives.build("noisy_classifier", shift=-1), "shift is a number of pixels"),
        (lambda: fg.objectives.build("noisy_classifier", label_smoothing=1.0), "label_smoothing is in"),
        (lambda: fg.objectives.build("noisy_classifier", time="unifrom"), "unknown time sampling 'unifrom'"),
        (lambda: fg.objectives.build("noisy_classifier")(exact("vp"), data=torch.zeros(2, 2)), "needs labels"),
        (lambda: fg.objectives.build("noisy_classifier")(
            fg.networks.build("convnet", channels=1, num_classes=3), data=torch.zeros(2, 1, 8, 8)),
         "NoisyClassification trains a Posterior, not a ConvNet"),
        (lambda: fg.objectives.build("cfm")(exact("vp"), data=torch.zeros(2, 2)),
         "trains a Field, not a MixturePosterior"),
        (lambda: fg.objectives.build("noisy_classifier")(
            exact("vp"), data=torch.zeros(2, 2), source=torch.zeros(2, 2)), "takes no source"),
    ],
)  # fmt: skip
def test_says_what_is_wrong(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
