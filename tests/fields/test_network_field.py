import pytest
import torch

import flowguide as fg


def model(**options) -> fg.NetworkField:
    torch.manual_seed(0)
    network = fg.networks.build("mlp", dim=2, num_classes=3, width=16, depth=1)
    torch.nn.init.normal_(network.leave[1].weight)
    return fg.NetworkField(network, fg.paths.build(options.pop("path", "linear")), **options)


@pytest.mark.parametrize("kind", fg.paths.KINDS)
def test_the_output_is_what_it_is_said_to_be(kind: str) -> None:
    field = model(predicts=kind)
    x, t, y = torch.randn(4, 2), torch.rand(4) * 0.8 + 0.1, torch.tensor([0, 1, 2, 3])
    assert torch.equal(getattr(field(x, t, y), kind), field.network(x, t, y))


def test_no_condition_is_the_null_label() -> None:
    field = model()
    x = torch.randn(4, 2)
    assert torch.equal(field(x, 0.5).velocity, field(x, 0.5, torch.full((4,), 3)).velocity)
    assert torch.equal(field.null(2), torch.tensor([3, 3]))


def test_labels_are_dropped_per_sample() -> None:
    y = torch.tensor([0, 1, 2, 0])
    dropped = model().drop(y, torch.tensor([True, False, True, False]))
    assert torch.equal(dropped, torch.tensor([3, 1, 3, 0]))


def test_the_interval_follows_the_kind() -> None:
    assert (model().t_min, model().t_max) == (0, 1)
    end = 1e-3 / 1.001  # where one scale is a thousandth of the other
    assert model(predicts="noise").t_min == pytest.approx(end)
    assert model(predicts="data").t_max == pytest.approx(1 - end)
    assert model(predicts="noise", path="vp").t_min == 0


def test_time_may_be_a_number() -> None:
    field, x = model(), torch.randn(4, 2)
    assert torch.equal(field(x, 0.25).velocity, field(x, torch.full((4,), 0.25)).velocity)


@pytest.mark.parametrize("label", [-1, 4, 99])
def test_a_label_outside_the_classes(label: int) -> None:
    with pytest.raises(ValueError, match=f"label {label} is not one of the 3 classes 0 to 2"):
        model()(torch.zeros(2, 2), 0.5, torch.tensor([0, label]))


def test_conditions_are_checked_once_per_run() -> None:
    field = model()
    with pytest.raises(ValueError, match="one condition per sample: got 2 for 3 samples"):
        field.check_condition(torch.tensor([0, 1]), 3)
    with pytest.raises(ValueError, match="label 7 is not one of"):
        field.check_condition(torch.tensor([0, 7]), 2)
    with pytest.raises(ValueError, match="labels must be integers"):
        field.check_condition(torch.tensor([0.0, 1.0]), 2)


@pytest.mark.parametrize(
    ("cond", "words"),
    [
        (torch.tensor([1]), "one condition per sample: got 1 for 4 samples"),
        (torch.tensor([0, 1, 2]), "one condition per sample: got 3 for 4"),
        (torch.tensor(1), r"one condition per sample: got a tensor of shape \(\) for 4"),
        (1, "cond is a tensor with one condition per sample, .* not 1"),
        ([0, 1, 2, 0], r"cond is a tensor with one condition per sample, .* not \[0, 1, 2, 0\]"),
    ],
)
@pytest.mark.parametrize("kind", ["network", "mixture", "cfg"])
def test_there_is_one_condition_per_sample(cond: object, words: str, kind: str) -> None:
    """None is broadcast: one label for all may be a mistake."""
    field = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear")) if kind == "mixture" else model()
    field = fg.guidance.build("cfg", field, w=2.0) if kind == "cfg" else field
    with pytest.raises(ValueError, match=words):
        field(torch.zeros(4, 2), 0.5, cond)


def test_encoded_conditions_and_several_labels_are_conditions() -> None:
    field, x, y = model(), torch.randn(4, 2), torch.tensor([0, 1, 2, 3])
    assert torch.equal(field(x, 0.5, field.network.encode(y)).velocity, field(x, 0.5, y).velocity)
    assert fg.guidance.build("multi", field)(x, 0.5, torch.stack([y, y.flip(0)], 1)).velocity.shape == (4, 2)


def test_an_unconditional_network_takes_no_conditions() -> None:
    field = fg.NetworkField(fg.networks.build("mlp", dim=2), fg.paths.build("linear"))
    assert field.null(3) is None
    assert field(torch.zeros(3, 2), 0.5).velocity.shape == (3, 2)
    with pytest.raises(ValueError, match="takes no conditions"):
        field.check_condition(torch.tensor([0, 1, 2]), 3)
    with pytest.raises(ValueError, match="takes no conditions"):
        field.drop(torch.tensor([0]), torch.tensor([True]))


def test_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="one of velocity, score, noise, data, v, edm, not 'eps'"):
        model(predicts="eps")
