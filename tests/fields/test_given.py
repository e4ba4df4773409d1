"""A field that is given images is a field of labels, and guidance acts on those alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import flowguide as fg
from flowguide.fields import Given, Run

SMALL = {
    "dit": {"patch": 2, "depth": 1, "width": 16, "heads": 2},
    "unet": {"width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [], "head_width": 8},
}


def network(labels: int | None = 3, name: str = "unet", **more) -> fg.networks.ImageNetwork:
    torch.manual_seed(0)
    built = fg.networks.build(name, channels=1, num_classes=labels, extra_channels=2, **{**SMALL[name], **more})
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return built.eval()


def field(labels: int | None = 3, **more) -> fg.NetworkField:
    return fg.NetworkField(network(labels, **more), fg.paths.build("linear")).requires_grad_(False)


IMAGES = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(1))
Y = torch.tensor([0, 1, 2, 0, 1])
X = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(2))
T = torch.tensor(0.4)


@settings(deadline=None, max_examples=10)
@given(
    w=st.floats(-1, 4),
    t=st.floats(0.05, 0.95),
    batched=st.sampled_from([None, True, False]),
    name=st.sampled_from(["dit", "unet"]),
)
def test_guidance_acts_on_the_label_and_the_image_stays(w: float, t: float, batched: bool | None, name: str) -> None:
    """By hand: two evaluations of the network, with the same image and with the label or without."""
    plain = field(name=name)
    rule = fg.guidance.build("cfg", Given(plain, IMAGES), w=w, batched=batched)
    call, join = plain.network, plain.network.join
    t = torch.tensor(t)
    by_hand = (1 - w) * call(X, t, join(IMAGES, torch.full((5,), 3))) + w * call(X, t, join(IMAGES, Y))
    torch.testing.assert_close(rule(X, t, Y).velocity, by_hand, rtol=1e-4, atol=1e-4)


CAPTIONS = fg.networks.masked(
    torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(3)), torch.tensor([[1, 1, 0]] * 4 + [[0, 0, 0]])
)


@pytest.mark.parametrize("name", ["dit", "unet"])
@pytest.mark.parametrize(
    ("options", "rest"),
    [({"embedding": 7}, CAPTIONS[:, 0].nan_to_num()), ({"sequence": [3, 7]}, CAPTIONS)],
    ids=["embeddings", "sequences"],
)
def test_guidance_acts_on_captions_too(name: str, options: dict, rest: torch.Tensor) -> None:
    """Every rule that needs no labels: by hand, with the image joined to the caption, to another or to none."""
    sizes = {"attention": [1]} if name == "unet" else {}
    plain = field(None, name=name, **options, **sizes)
    plain.network.set_null(rest[0] + 1)
    shown = Given(plain, IMAGES)
    assert (shown.num_classes, shown.takes_conditions, shown.needs_condition) == (None, True, False)

    def by_hand(cond: torch.Tensor) -> torch.Tensor:
        return plain.network(X, T, plain.network.join(IMAGES, cond))

    null, c = by_hand((rest[0] + 1).expand_as(rest)), by_hand(rest)
    close = {"rtol": 1e-4, "atol": 1e-4}
    cfg = fg.guidance.build("cfg", shown, w=2.5)
    torch.testing.assert_close(cfg(X, T, rest).velocity, 2.5 * c - 1.5 * null, **close)
    away = fg.guidance.build("negative", shown, negative=rest[1], w=2.0)
    torch.testing.assert_close(away(X, T, rest).velocity, 2 * c - by_hand(rest[1].expand_as(rest)), **close)
    several = fg.guidance.build("multi", shown, labels=[rest[2]], w=2.0)
    assert several(X, T, rest).velocity.isfinite().all()
    dropped = plain.drop(plain.network.join(IMAGES, rest), torch.tensor([True, False, False, True, False]))
    mixed = torch.where(torch.tensor([1, 0, 0, 1, 0]).bool().reshape(-1, *[1] * (rest.ndim - 1)), rest[0] + 1, rest)
    torch.testing.assert_close(dropped, plain.network.join(IMAGES, mixed), rtol=0, atol=0, equal_nan=True)
    solver = fg.solvers.build("euler", steps=2)
    whole = fg.sample(cfg, X.shape, rest, solver, seed=3)
    torch.testing.assert_close(fg.sample(cfg, X.shape, rest, solver, seed=3, batch_size=2), whole, **close)


@pytest.mark.parametrize("name", ["cfg", "apg", "interval", "independent_condition", "rescale"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_sample_has_its_image_in_every_batch(name: str, size: int) -> None:
    rule = fg.guidance.build(name, Given(field(), IMAGES), w=2.0)
    solver = fg.solvers.build("heun", steps=2, t_end=0.9)
    whole = fg.sample(rule, X.shape, Y, solver, seed=3)
    parts = fg.sample(rule, X.shape, Y, solver, seed=3, batch_size=size)
    share = fg.sample(rule, (2, *X.shape[1:]), Y[3:], solver, seed=3, first=3)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(share, whole[3:], rtol=1e-4, atol=1e-4)


def test_another_order_of_the_samples_is_another_order_of_the_predictions() -> None:
    order = torch.tensor([3, 1, 4, 0, 2])
    plain = field()
    straight = Given(plain, IMAGES)(X, T, Y).velocity
    permuted = Given(plain, IMAGES[order])(X[order], T, Y[order]).velocity
    torch.testing.assert_close(permuted, straight[order], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(Given(plain, IMAGES[order])(X, T, Y).velocity, straight, atol=1e-2)


def test_an_image_and_its_labels_are_encoded_once_per_run() -> None:
    plain = field()
    seen = []
    honest = plain.network.encode

    def encode(cond):
        seen.append(not isinstance(cond, fg.networks.Encoded))
        return honest(cond)

    plain.network.encode = encode
    rule = fg.guidance.build("cfg", Given(plain, IMAGES), w=2.0)
    fg.sample(rule, X.shape, Y, fg.solvers.build("heun", steps=4), seed=0)
    assert sum(seen) == 2


def test_images_may_be_chosen_for_each_run() -> None:
    runs = []

    def chosen(run: Run) -> torch.Tensor:
        runs.append((run.first, run.count, run.cond.tolist()))
        return IMAGES[run.first : run.first + run.count]

    plain, solver = field(), fg.solvers.build("euler", steps=2)
    asked = fg.sample(Given(plain, chosen), X.shape, Y, solver, seed=1, batch_size=3)
    torch.testing.assert_close(asked, fg.sample(Given(plain, IMAGES), X.shape, Y, solver, seed=1, batch_size=3))
    assert runs == [(0, 3, [0, 1, 2]), (3, 2, [0, 1])]
    with pytest.raises(ValueError, match="chosen for a run: sample it"):
        Given(plain, chosen)(X, T, Y)


@pytest.mark.parametrize("labels", [None, 3])
def test_it_asks_for_labels_if_the_network_takes_some(labels: int | None) -> None:
    plain = field(labels)
    told = Given(plain, IMAGES)
    assert told.num_classes == labels
    assert (told.null(2) is None) == (labels is None)
    expected = plain.network.join(IMAGES, None if labels is None else torch.full((5,), labels))
    assert torch.equal(told(X, T).velocity, plain(X, T, expected).velocity)


def test_a_network_without_a_null_label_needs_one() -> None:
    told = Given(field(null_label=False), IMAGES)
    assert told.needs_condition
    assert told(X, T, Y).velocity.isfinite().all()
    with pytest.raises(ValueError, match="pass cond, one per sample"):
        told(X, T)
    with pytest.raises(ValueError, match="needs a field with a null condition"):
        fg.guidance.build("cfg", told)


def test_labels_that_were_never_dropped_or_always() -> None:
    network_, path = network(), fg.paths.build("linear")
    always, never = (Given(fg.NetworkField(network_, path, told=told), IMAGES) for told in ("always", "never"))
    assert torch.equal(always(X, T, Y).velocity, Given(fg.NetworkField(network_, path), IMAGES)(X, T, Y).velocity)
    with pytest.raises(ValueError, match="pass cond, one per sample"):
        always(X, T)
    assert not never.takes_conditions
    assert torch.equal(never(X, T).velocity, Given(fg.NetworkField(network_, path), IMAGES)(X, T).velocity)


@settings(deadline=None, max_examples=20)
@given(mask=st.lists(st.booleans(), min_size=5, max_size=5))
def test_a_label_that_is_dropped_leaves_its_image(mask: list[bool]) -> None:
    plain = field()
    cond, dropped = plain.network.join(IMAGES, Y), torch.tensor(mask)
    after = plain.drop(cond, dropped)
    assert torch.equal(after[:, :2], IMAGES)
    assert torch.equal(after[:, 2, 0, 0], torch.where(dropped, 3, Y).float())
    assert torch.equal(after, plain.network.join(IMAGES, torch.where(dropped, 3, Y)))


def test_where_there_is_nothing_to_drop_it_says_so() -> None:
    plain = field(None)
    with pytest.raises(ValueError, match="train with label_dropout=0"):
        plain.drop(IMAGES, torch.ones(5, dtype=torch.bool))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Given(field(), IMAGES[:, :1]), r"images of shape \(N, 2, h, w\), not \(5, 1, 4, 4\)"),
        (lambda: Given(fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear")), IMAGES), "with extra_channels"),
        (lambda: Given(field(), IMAGES)(X[:4], T, Y[:4]), "images for 5 samples here, and states of 4"),
        (lambda: fg.sample(Given(field(), IMAGES), (6, 1, 8, 8), Y[[0] * 6]), "images for 5 samples, and samples 0 to"),
        (lambda: Given(field(), IMAGES)(X, T, Y + 2), "labels must be 5 integers from 0 to 3"),
        (lambda: fg.sample(Given(field(), IMAGES), X.shape, Y + 2), "is not one of the 3 classes"),
        (lambda: Given(field(None, embedding=7), IMAGES)(X, T, Y), r"embeddings of shape \(B, 7\), not int64 of shape"),
        (lambda: fg.guidance.build("smc", Given(field(), IMAGES), w=2.0), "an image of its own"),
    ],
)
def test_mistakes(make, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
