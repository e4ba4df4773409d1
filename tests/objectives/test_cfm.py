import pytest
import torch

import flowguide as fg
from flowguide.objectives.classification import shifted


class Shifted(fg.Field):
    """An exact field that is wrong by a constant velocity."""

    def __init__(self, field: fg.Field, error: float) -> None:
        super().__init__()
        self.field, self.path, self.num_classes, self.error = field, field.path, field.num_classes, error
        self.seen: list[torch.Tensor] = []

    def null(self, batch: int):
        return self.field.null(batch)

    def predict(self, x, t, cond):
        self.seen.append(cond)
        return self.path.predict("velocity", self.field(x, t, cond).velocity + self.error, x, t)


@pytest.mark.parametrize("path", fg.paths.names())
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_exact_field_is_the_minimiser(path: str, dropout: float) -> None:
    """loss(exact + e) = loss(exact) + e^2, since the error of the exact field is orthogonal to every function of x."""
    exact = fg.MixtureField(fg.oracle.ring(3), fg.paths.build(path))
    data, labels = exact.mixture.sample(40000, seed=1, dtype=torch.float64)
    objective = fg.objectives.build("cfm", label_dropout=dropout)

    def losses(error: float) -> torch.Tensor:
        return objective.losses(Shifted(exact, error), data, labels, torch.Generator().manual_seed(0))

    for error in (-0.5, 0.5):
        excess = losses(error) - losses(0.0)
        assert abs(excess.mean() - error**2) < 5 * excess.std() / len(data) ** 0.5


def test_labels_are_dropped_per_sample() -> None:
    exact = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear"))
    data, labels = exact.mixture.sample(4000, seed=1)
    for rate in (0.0, 0.25, 1.0):
        field = Shifted(exact, 0.0)
        fg.objectives.build("cfm", label_dropout=rate)(field, data=data, cond=labels)
        dropped = field.seen[0] == 3
        assert abs(dropped.double().mean() - rate) <= 5 * (rate * (1 - rate) / 4000) ** 0.5
        assert torch.equal(field.seen[0][~dropped], labels[~dropped])


def test_times_and_noise_come_from_the_generator() -> None:
    exact = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear"))
    data, labels = exact.mixture.sample(64, seed=1)
    objective = fg.objectives.build("cfm")
    first, again, other = (
        objective(exact, data=data, cond=labels, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)
    )
    assert first == again != other


def test_without_labels() -> None:
    exact = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear"))
    assert fg.objectives.build("cfm")(exact, data=torch.randn(8, 2)).isfinite()


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_dropout_is_a_probability(rate: float) -> None:
    with pytest.raises(ValueError, match="label_dropout is a probability"):
        fg.objectives.build("cfm", label_dropout=rate)


def test_classification_is_cross_entropy() -> None:
    model = fg.networks.build("convnet", channels=1, num_classes=3).eval()
    images, labels = torch.randn(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    loss = fg.objectives.build("classification")(model, data=images, cond=labels)
    expected = -model(images).log_softmax(1)[torch.arange(5), labels].mean()
    torch.testing.assert_close(loss, expected)
    with pytest.raises(ValueError, match="a classifier needs labels"):
        fg.objectives.build("classification")(model, data=images)
    with pytest.raises(ValueError, match="ConditionalFlowMatching trains a Field, not a ConvNet"):
        fg.objectives.build("cfm")(model, data=images)
    with pytest.raises(ValueError, match="a field needs a network that is called as"):
        fg.NetworkField(model, fg.paths.build("linear"))
    for option in ({"shift": -1}, {"label_smoothing": 1.0}):
        with pytest.raises(ValueError, match=next(iter(option))):
            fg.objectives.build("classification", **option)


def test_shifted_images_keep_their_pixels() -> None:
    images = torch.zeros(200, 2, 6, 6)
    images[:, 0, 2, 3], images[:, 1, 3, 2] = 1.0, 2.0
    moved = shifted(images, 1, torch.Generator().manual_seed(0))
    places = {tuple(image[0].nonzero()[0].tolist()) for image in moved}
    assert places == {(row, column) for row in (1, 2, 3) for column in (2, 3, 4)}
    # Both channels move together.
    for image in moved:
        assert torch.equal(image[1].nonzero()[0] - image[0].nonzero()[0], torch.tensor([1, -1]))


@pytest.mark.parametrize(
    ("cond", "words"),
    [
        (torch.tensor([1]), "one condition per sample: got 1 for 8 samples"),
        (torch.tensor([0, 1, 2]), "one condition per sample: got 3 for 8"),
        (1, "cond is a tensor with one condition per sample"),
    ],
)
@pytest.mark.parametrize("name", ["cfm", "dsm", "noisy_classifier"])
def test_there_is_one_condition_per_sample(name: str, cond: object, words: str) -> None:
    """One label for all would train everything under it."""
    field = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear"))
    posterior = fg.fields.MixturePosterior(field.mixture, field.path)
    with pytest.raises(ValueError, match=words):
        fg.objectives.build(name)(posterior if name == "noisy_classifier" else field, data=torch.zeros(8, 2), cond=cond)
