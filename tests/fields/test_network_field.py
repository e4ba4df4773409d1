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


@pytest.mark.parametrize(
    ("t", "words"),
    [
        (1.5, r"time is in \[0, 1\], from noise to data, not 1.5"),
        (-0.5, r"time is in \[0, 1\], from noise to data, not -0.5"),
        (2, r"time is in \[0, 1\], .* not 2"),
        (float("nan"), r"time is in \[0, 1\], .* not nan"),
        (torch.rand(3), r"shape \(\) or \(4,\), one for each of 4 samples, not of shape \(3,\)"),
        (torch.rand(1), r"shape \(\) or \(4,\), .* not of shape \(1,\)"),
        (torch.rand(4, 1), r"shape \(\) or \(4,\), .* not of shape \(4, 1\)"),
        ([0.1, 0.2], r"shape \(\) or \(4,\), .* not of shape \(2,\)"),
        (None, r"time is a number in \[0, 1\], or a tensor of one per sample, not None"),
        ("now", r"time is a number in \[0, 1\], .* not 'now'"),
    ],
)
@pytest.mark.parametrize("kind", ["network", "mixture", "cfg", "posterior"])
def test_time_is_one_number_or_one_per_sample(t: object, words: str, kind: str) -> None:
    field = (
        fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear")) if kind in ("mixture", "posterior") else model()
    )
    field = fg.guidance.build("cfg", field, w=2.0) if kind == "cfg" else field
    field = fg.fields.MixturePosterior(field.mixture, field.path) if kind == "posterior" else field
    with pytest.raises(ValueError, match=words):
        field(torch.zeros(4, 2), t)


@pytest.mark.parametrize("t", [0, 1, 0.5, torch.tensor(0.5, dtype=torch.float64), [0.1, 0.2, 0.3, 0.4], torch.rand(4)])
def test_times_of_all_kinds(t: object) -> None:
    field, x = model(), torch.randn(4, 2)
    expected = field(x, torch.as_tensor(t, dtype=x.dtype).expand(4)).velocity
    torch.testing.assert_close(field(x, t).velocity, expected)


def test_no_value_is_looked_at() -> None:
    """On a GPU each look would be a wait: these tensors have no values, and so to look would be an error."""
    field = model().to("meta")
    x, t, y = (
        torch.empty(4, 2, device="meta"),
        torch.empty(4, device="meta"),
        torch.zeros(4, dtype=torch.long).to("meta"),
    )
    for rule in (field, fg.guidance.build("cfg", field, w=2.0)):
        assert rule(x, t, y).velocity.shape == (4, 2)
    assert fg.objectives.build("cfm")(field, data=x, cond=y).shape == ()
    with pytest.raises(ValueError, match="one condition per sample: got 3 for 4"):
        field(x, t, y[:3])


def test_transforms_and_compilation_go_through_the_checks() -> None:
    field, x, y, t = model(), torch.randn(4, 2), torch.tensor([0, 1, 2, 3]), torch.rand(4)
    expected = field(x, t, y).velocity
    each = torch.vmap(lambda x, t, y: field(x[None], t[None], y[None]).velocity[0])(x, t, y)
    torch.testing.assert_close(each, expected)
    assert torch.func.jvp(lambda t: field(x, t, y).velocity, (t,), (torch.ones(4),))[1].shape == (4, 2)
    assert torch.equal(torch.func.vjp(lambda x: field(x, t, y).velocity, x)[0], expected)
    compiled = torch.compile(lambda x, t, y: field(x, t, y).velocity, backend="eager", fullgraph=True)
    for time in (t, t[0], 0.5):
        torch.testing.assert_close(compiled(x, time, y), field(x, time, y).velocity)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(4, 2, dtype=torch.long), r"floating-point tensors of shape \(B, \*\), not torch.int64"),
        (torch.zeros(4, 2, dtype=torch.uint8), "not torch.uint8 .* of an image's bytes give x / 127.5 - 1"),
        (torch.zeros(2), r"shape \(B, \*\), not torch.float32 of shape \(2,\)"),
        ([[0.0, 1.0]], r"floating-point tensors of shape \(B, \*\), not of type list"),
    ],
)
@pytest.mark.parametrize("kind", ["network", "mixture", "cfg", "posterior", "data"])
def test_states_are_floating_point_numbers_with_a_batch(x: object, words: str, kind: str) -> None:
    field = (
        fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear")) if kind in ("mixture", "posterior") else model()
    )
    field = fg.guidance.build("cfg", field, w=2.0) if kind == "cfg" else field
    field = fg.fields.MixturePosterior(field.mixture, field.path) if kind == "posterior" else field
    objective = fg.objectives.build("cfm")
    with pytest.raises(ValueError, match=words):
        objective(field, data=x) if kind == "data" else field(x, 0.5)


def test_samples_of_another_type_than_the_network() -> None:
    """As what draws them says; and a model of that type draws them."""
    words = r"parameters are float32, and it was given x of float64: give it x.float\(\), or call model.double\(\)"
    with pytest.raises(ValueError, match=words):
        fg.sample(model(), (4, 2), dtype=torch.float64)
    assert fg.sample(model().double(), (4, 2), dtype=torch.float64).dtype == torch.float64
    with pytest.raises(
        ValueError, match=r"are float64, and it was given x of float32: give it x.double\(\), or .* model.float"
    ):
        fg.sample(model().double(), (4, 2))


def test_embeddings_of_another_type_than_the_network() -> None:
    field = fg.NetworkField(fg.networks.build("mlp", dim=2, embedding=3), fg.paths.build("linear"))
    x, cond = torch.zeros(4, 2), torch.zeros(4, 3, dtype=torch.float64)
    words = r"are float32, and it was given cond of float64: give it cond.float\(\), or call model.double\(\)"
    for call in (lambda: field(x, 0.5, cond), lambda: fg.objectives.build("cfm")(field, data=x, cond=cond)):
        with pytest.raises(ValueError, match=words):
            call()


def test_other_errors_are_left_as_they_are() -> None:
    field = model()
    field.network.forward = lambda x, t, cond: x.reshape(3)
    with pytest.raises(RuntimeError, match="is invalid for input of size 8"):
        field(torch.zeros(4, 2, dtype=torch.float64), 0.5)


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


def test_what_was_never_learnt_is_not_asked_for() -> None:
    """Told of conditions always, it knows nothing without one; told never, it takes none."""
    network, path = model().network, fg.paths.build("linear")
    x, y = torch.randn(4, 2), torch.tensor([0, 1, 2, 0])
    always, never = (fg.NetworkField(network, path, told=told) for told in ("always", "never"))
    assert (always.num_classes, always.needs_condition, always.null(2)) == (3, True, None)
    assert torch.equal(always(x, 0.5, y).velocity, fg.NetworkField(network, path)(x, 0.5, y).velocity)
    with pytest.raises(ValueError, match="has no null one, so it predicts nothing without one"):
        always(x, 0.5)
    with pytest.raises(ValueError, match="cfg needs a field with a null condition, and this one was trained without"):
        fg.guidance.build("cfg", always)
    assert (never.num_classes, never.needs_condition, never.takes_conditions) == (None, False, False)
    assert torch.equal(never(x, 0.5).velocity, fg.NetworkField(network, path)(x, 0.5).velocity)
    with pytest.raises(ValueError, match="this field takes no conditions; pass cond=None"):
        fg.sample(never, (4, 2), y)
    assert never.drop(y, torch.ones(4, dtype=torch.bool)).tolist() == [3, 3, 3, 3], "as in training"
    with pytest.raises(ValueError, match="was told conditions sometimes, always, never, not 'often'"):
        fg.NetworkField(network, path, told="often")
