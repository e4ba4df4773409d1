"""Metrics against scipy and brute force."""

import numpy as np
import pytest
import torch
from scipy import linalg

import flowguide as fg
from flowguide.metrics import Seen, see


def seen(seed: int, count: int = 60, dim: int = 8, classes: int = 4) -> Seen:
    g = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=g)
    features = torch.randn(count, dim, generator=g) @ mixing + seed
    logits = 3 * torch.randn(count, classes, generator=g)
    return Seen(features, logits, torch.randint(classes, (count,), generator=g))


@pytest.mark.parametrize("count", [5, 60, 400])
def test_frechet_distance_against_scipy(count: int) -> None:
    """With fewer samples than features too, where the covariances are singular."""
    a, b = seen(0, count), seen(1, 300)
    (ma, ca), (mb, cb) = (
        (s.features.double().numpy().mean(0), np.cov(s.features.double().numpy(), rowvar=False)) for s in (a, b)
    )
    root = linalg.sqrtm(ca @ cb).real
    expected = ((ma - mb) ** 2).sum() + np.trace(ca + cb - 2 * root)
    assert fg.metrics.build("frechet_distance")(a, b) == pytest.approx(expected, rel=1e-4)


def test_frechet_distance_of_a_set_to_itself_is_zero() -> None:
    assert abs(fg.metrics.build("frechet_distance")(seen(0), seen(0))) < 1e-4
    with pytest.raises(ValueError, match="at least 2 samples on each side, not 1"):
        fg.metrics.build("frechet_distance")(seen(0, 1), seen(0))


def test_inception_score_by_brute_force() -> None:
    s = seen(0)
    p = s.logits.double().softmax(1)
    divergence = sum((row * (row / p.mean(0)).log()).sum() for row in p) / len(p)
    metric = fg.metrics.build("inception_score")
    assert metric(s, s) == pytest.approx(float(divergence.exp()), rel=1e-9)
    sure = Seen(s.features, 100 * torch.eye(4).repeat(15, 1), s.labels)
    assert metric(sure, s) == pytest.approx(4, rel=1e-9)


def test_label_accuracy() -> None:
    logits = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    s = Seen(torch.zeros(4, 2), logits, torch.tensor([1, 0, 0, 1]))
    assert fg.metrics.build("label_accuracy")(s, s) == 0.75


@pytest.mark.parametrize("name", fg.metrics.names())
def test_every_metric_says_what_it_is(name: str) -> None:
    metric = fg.metrics.build(name)
    assert metric.title
    assert metric.better in ("lower", "higher")
    assert isinstance(metric(seen(0), seen(1)), float)
    state = torch.get_rng_state()
    assert metric(seen(0), seen(1)) == metric(seen(0), seen(1))
    assert torch.equal(state, torch.get_rng_state()), "a metric leaves the global generator alone"


def test_broken_images_are_refused() -> None:
    network = fg.networks.build("convnet", channels=1, num_classes=3)
    images = torch.zeros(4, 1, 8, 8)
    images[1, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="1 of 4 images hold infinite or NaN pixels"):
        see(network, images, torch.zeros(4, dtype=torch.long))


def test_precision_and_recall_by_brute_force() -> None:
    a, b = seen(0, 40), seen(1, 70)

    def share(points: np.ndarray, manifold: np.ndarray, k: int) -> float:
        inside = 0
        for p in points:
            for m in manifold:
                radius = sorted(np.linalg.norm(m - other) for other in manifold)[k]
                if np.linalg.norm(p - m) <= radius:
                    inside += 1
                    break
        return inside / len(points)

    x, y = a.features.double().numpy(), b.features.double().numpy()
    for k in (1, 3):
        assert fg.metrics.build("precision", neighbours=k)(a, b) == pytest.approx(share(x, y, k))
        assert fg.metrics.build("recall", neighbours=k)(a, b) == pytest.approx(share(y, x, k))


def test_precision_sees_what_is_no_data_and_recall_what_is_missing() -> None:
    real, labels = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(500)
    half = real[real[:, 0] > 0]
    precision, recall = fg.metrics.build("precision"), fg.metrics.build("recall")
    both, some = Seen(real, real, labels), Seen(half, half, labels)
    assert precision(some, both) == recall(both, some) == 1
    assert 0.4 < recall(some, both) < 0.75
    far = Seen(torch.cat([real, real + 100]), real, labels)
    assert (precision(far, both), recall(far, both)) == (0.5, 1.0)


def test_precision_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="neighbours must be at least 1, not 0"):
        fg.metrics.build("recall", neighbours=0)
    with pytest.raises(ValueError, match="3 nearest neighbours needs more samples than that, not 3"):
        fg.metrics.build("recall")(seen(0, 3), seen(1))
