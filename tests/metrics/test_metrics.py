"""Metrics against scipy, torchmetrics and brute force."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import linalg
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

import flowguide as fg
from flowguide import distances
from flowguide.metrics import Seen, see


class Given(torch.nn.Identity):
    """Features that are features already, for torchmetrics."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def seen(seed: int, count: int = 60, dim: int = 8, classes: int = 4) -> Seen:
    g = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=g)
    features = torch.randn(count, dim, generator=g) @ mixing + seed
    logits = 3 * torch.randn(count, classes, generator=g)
    labels = torch.randint(classes, (count,), generator=g)
    return Seen(features, logits, labels, bits=torch.rand(count, generator=g))


# Samples and reference samples, features: of full rank, and of fewer samples than features on one side or both.
CASES = [(60, 300, 8), (5, 300, 8), (400, 6, 8), (3, 4, 8), (2, 2, 5), (200, 150, 32), (20, 25, 64), (64, 65, 64)]
CASES += [(500, 500, 1), (40, 90, 3)]


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.filterwarnings("ignore:.* their covariance has rank:UserWarning")
def test_frechet_distance_against_scipy_and_torchmetrics(case: int) -> None:
    """Of small sets too, whose covariances are singular."""
    n, m, dim = CASES[case]
    a, b = seen(2 * case, n, dim), seen(2 * case + 1, m, dim)
    (ma, ca), (mb, cb) = (
        (x.mean(0), np.cov(x, rowvar=False).reshape(dim, dim)) for x in (s.features.double().numpy() for s in (a, b))
    )
    root = linalg.sqrtm(ca @ cb).real
    found = fg.metrics.build("frechet_distance")(a, b)
    assert found == pytest.approx(((ma - mb) ** 2).sum() + np.trace(ca + cb - 2 * root), rel=1e-4)
    theirs = FrechetInceptionDistance(feature=Given(dim)).set_dtype(torch.float64)
    theirs.update(b.features.double(), real=True)
    theirs.update(a.features.double(), real=False)
    assert found == pytest.approx(float(theirs.compute()), rel=1e-4)


@pytest.mark.filterwarnings("ignore:.* their covariance has rank:UserWarning")
def test_frechet_distance_of_singular_covariances_in_closed_form() -> None:
    """Where the distance is small beside the traces, square roots of rounding errors would be most of it."""
    g = torch.Generator().manual_seed(0)
    flat = torch.zeros(50, 64, dtype=torch.float64)
    flat[:, :3] = torch.randn(50, 3, generator=g, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(64, 64, generator=g, dtype=torch.float64)).Q
    x, y = flat @ turn, 1.0001 * (flat - flat.mean(0)) @ turn
    expected = float(flat.mean(0).square().sum() + 1e-8 * flat.var(0).sum())
    with pytest.warns(UserWarning, match="50 samples in 64 features: their covariance has rank 3 of 64"):
        assert fg.metrics.build("frechet_distance")(Seen(x), Seen(y)) == pytest.approx(expected, rel=1e-9)
    y = 1.0001 * (x - x.mean(0)) + x.mean(0)  # 1e-8 of the trace, and nothing else
    with pytest.warns(UserWarning, match="50 reference samples in 64 features"):
        found = fg.metrics.build("frechet_distance")(Seen(x), Seen(y))
    assert found == pytest.approx(1e-8 * float(flat.var(0).sum()), rel=1e-4)


def test_frechet_distance_of_points_that_are_all_the_same() -> None:
    here, there = Seen(torch.zeros(5, 2)), Seen(torch.tensor([[3.0, 4.0]]).expand(5, 2))
    assert fg.metrics.build("frechet_distance")(here, there) == 25


def test_frechet_distance_warns_of_few_samples_and_only_then() -> None:
    with pytest.warns(UserWarning, match="7 samples in 8 features: their covariance has rank 6 of 8.* more than 8"):
        fg.metrics.build("frechet_distance")(seen(0, 7), seen(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fg.metrics.build("frechet_distance")(seen(0, 9), seen(1))


def test_frechet_distance_infinity_takes_the_bias_out() -> None:
    """Samples of the reference's own law are at distance 0, and 400 of them at one of c / N."""
    g = torch.Generator().manual_seed(0)
    reference = Seen(torch.randn(100_000, 4, generator=g, dtype=torch.float64))
    metric, plain = fg.metrics.build("frechet_distance_infinity"), fg.metrics.build("frechet_distance")
    drawn = [Seen(torch.randn(400, 4, generator=g, dtype=torch.float64)) for _ in range(60)]
    found = torch.tensor([[measure(each, reference) for measure in (metric, plain)] for each in drawn])
    limit, finite = found.mean(0)
    assert finite > 0.02
    assert abs(limit) < 3 * found[:, 0].std() / len(found) ** 0.5 < finite / 2
    shifted = Seen(drawn[0].features + 3.0)
    assert metric(shifted, reference) == pytest.approx(4 * 9, rel=0.03)
    with pytest.raises(ValueError, match="from 15 sizes takes at least 30 samples, not 20"):
        metric(seen(0, 20), seen(1))
    with pytest.raises(ValueError, match="points must be at least 3, not 2"):
        fg.metrics.build("frechet_distance_infinity", points=2)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save:UserWarning")
def test_kernel_distance_against_torchmetrics_and_by_hand() -> None:
    a, b = seen(0, 60), seen(1, 60)
    metric = fg.metrics.build("kernel_distance")
    theirs = KernelInceptionDistance(feature=Given(8), subsets=1, subset_size=60).set_dtype(torch.float64)
    theirs.update(b.features.double(), real=True)
    theirs.update(a.features.double(), real=False)
    with torch.random.fork_rng(devices=[]):
        assert metric(a, b) == pytest.approx(float(theirs.compute()[0]), rel=1e-9)
    a, b = seen(0, 3), seen(1, 4)
    x, y = a.features.double().numpy(), b.features.double().numpy()

    def k(p: np.ndarray, q: np.ndarray) -> float:
        return (p @ q / 8 + 1) ** 3

    within = [sum(k(p, q) for p in s for q in s if p is not q) / (len(s) * (len(s) - 1)) for s in (list(x), list(y))]
    expected = sum(within) - 2 * sum(k(p, q) for p in x for q in y) / 12
    assert metric(a, b) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match="kernel distance needs at least 2 samples on each side, not 1"):
        metric(seen(0, 1), b)


def test_kernel_distance_is_unbiased_and_knows_its_error() -> None:
    """Over small draws of two laws it averages to the distance of large ones; for one law, to zero."""
    g = torch.Generator().manual_seed(0)

    def drawn(count: int, shift: float) -> Seen:
        return Seen(torch.randn(count, 3, generator=g, dtype=torch.float64) + shift)

    metric = fg.metrics.build("kernel_distance")
    same = torch.tensor([metric(drawn(10, 0.0), drawn(15, 0.0)) for _ in range(2000)])
    assert abs(same.mean()) < 4 * same.std() / len(same) ** 0.5
    found = torch.tensor([metric.with_error(drawn(10, 0.7), drawn(15, 0.0)) for _ in range(2000)])
    values = found[:, 0]
    truth = metric(drawn(6000, 0.7), drawn(6000, 0.0))
    assert abs(values.mean() - truth) < 4 * values.std() / len(values) ** 0.5 + 0.05
    found = torch.tensor([metric.with_error(drawn(100, 0.7), drawn(150, 0.0)) for _ in range(300)])
    assert float(found[:, 1].square().mean().sqrt()) == pytest.approx(float(found[:, 0].std()), rel=0.15)


def test_distances_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = seen(0, 40), seen(1, 70)
    reference = replace(b, held_out=seen(2, 30))
    names = ["precision", "recall", "density", "coverage", "kernel_distance", "mmd", "memorisation"]
    whole = [fg.metrics.build(name)(a, reference) for name in names]
    monkeypatch.setattr(distances, "_ENTRIES", 500)  # seven rows at a time
    for name, expected in zip(names, whole, strict=True):
        assert fg.metrics.build(name)(a, reference) == pytest.approx(expected, rel=1e-12)


def test_density_and_coverage_by_brute_force() -> None:
    a, b = seen(0, 40), seen(0, 70)
    x, y = a.features.double().numpy(), b.features.double().numpy()
    for k in (1, 5):
        radii = [sorted(np.linalg.norm(p - q) for q in y)[k] for p in y]
        inside = np.array([[np.linalg.norm(p - q) <= r for q, r in zip(y, radii, strict=True)] for p in x])
        assert fg.metrics.build("density", neighbours=k)(a, b) == pytest.approx(inside.sum() / (k * len(x)))
        assert fg.metrics.build("coverage", neighbours=k)(a, b) == pytest.approx(inside.any(0).mean())
    for name in ("density", "coverage"):
        with pytest.raises(ValueError, match="neighbours must be at least 1, not 0"):
            fg.metrics.build(name, neighbours=0)


def test_density_and_coverage_of_the_law_itself() -> None:
    """Density is 1, coverage 1 - 2^-k, whatever the law; an outlier of the data does not matter to density."""
    g = torch.Generator().manual_seed(0)
    x, y = (Seen(torch.randn(3000, 2, generator=g)) for _ in range(2))
    density, coverage = fg.metrics.build("density"), fg.metrics.build("coverage")
    assert density(x, y) == pytest.approx(1, abs=0.05)
    assert coverage(x, y) == pytest.approx(1 - 2**-5, abs=0.01)
    outlier = Seen(torch.cat([y.features, torch.full((1, 2), 1000.0)]))
    far = Seen(x.features + 500)
    assert fg.metrics.build("precision")(far, outlier) == 1
    assert density(far, outlier) < 0.3
    assert coverage(Seen(x.features.clamp(min=0)), y) < 0.7


def test_memorisation() -> None:
    """A half for the law itself, 1 for copies, ties counted half; by brute force besides."""
    g = torch.Generator().manual_seed(0)
    train, test, fresh = (torch.randn(800, 3, generator=g) for _ in range(3))
    reference = Seen(train, held_out=Seen(test))
    metric = fg.metrics.build("memorisation")
    assert metric(Seen(test), reference) == 0.5
    assert metric(Seen(fresh), reference) == pytest.approx(0.5, abs=0.05)
    assert metric(Seen(train), reference) == 1
    copied = torch.cat([fresh[:400], train[:400]])
    assert metric(Seen(copied), reference) == pytest.approx(0.75, abs=0.04)
    assert metric(Seen(fresh + 100), reference) == 0
    x, y, z = ([sorted((p - q).norm() for q in train[:20])[0] for p in s[:9]] for s in (fresh, test, train))
    few = Seen(train[:20], held_out=Seen(torch.cat([test[:9], train[:9]])))
    ranks = [(a < b) + 0.5 * (a == b) for a in x + z for b in y + z]
    both = Seen(torch.cat([fresh[:9], train[:9]]))
    assert metric(both, few) == pytest.approx(float(sum(ranks)) / len(ranks))
    with pytest.raises(ValueError, match="needs real data that are not among the training data"):
        metric(Seen(fresh), Seen(train))


def test_sliced_wasserstein() -> None:
    """Of sets of any sizes; a shift of Gaussians costs its length over the root of the dimension."""
    g = torch.Generator().manual_seed(0)
    metric = fg.metrics.build("sliced_wasserstein", projections=500)
    x = torch.randn(1000, 3, generator=g)
    shift = torch.tensor([3.0, 0.0, 0.0])
    assert metric(Seen(x + shift), Seen(x)) == pytest.approx(3 / 3**0.5, rel=0.05)
    assert metric(Seen(x[:10].repeat(3, 1)), Seen(x[:10].repeat(4, 1))) == pytest.approx(0, abs=1e-9)
    a, b = x[:7, :1].double(), x[7:18, :1].double()
    each = [s.repeat_interleave(77 // len(s), 0).sort(0).values for s in (a.sort(0).values, b.sort(0).values)]
    assert metric(Seen(a), Seen(b)) == pytest.approx(float((each[0] - each[1]).square().mean().sqrt()), rel=1e-12)
    with pytest.raises(ValueError, match="projections must be at least 1, not 0"):
        fg.metrics.build("sliced_wasserstein", projections=0)


def test_mmd_of_a_law_with_itself_is_zero_and_grows_with_a_shift() -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 2000, 2, generator=g).unbind()
    metric = fg.metrics.build("mmd")
    found = [metric(Seen(x + shift), Seen(y)) for shift in (0.0, 0.5, 1.0)]
    assert abs(found[0]) < 2e-3
    assert found[0] < 0.02 < found[1] < found[2]
    with pytest.raises(ValueError, match="scale must be positive, not 0"):
        fg.metrics.build("mmd", scale=0)
    with pytest.raises(ValueError, match="takes its kernel's width from the reference samples, and all 5 are the same"):
        metric(Seen(x), Seen(y[:1].expand(5, -1)))


@pytest.mark.parametrize("name", fg.metrics.names())
def test_a_reference_that_was_seen_otherwise_is_refused(name: str) -> None:
    """As one at another resolution would be by features that are the data themselves."""
    with pytest.raises(ValueError, match="the samples have 8 features and the reference 32: both must be seen"):
        fg.metrics.build(name)(seen(0), seen(1, dim=32))


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", fg.metrics.names())
def test_what_is_not_finite_is_not_measured(name: str, broken: float) -> None:
    """Not 0, which would be the worst of shares and the best of distances, and not NaN."""
    metric, spoiled = fg.metrics.build(name), seen(0, 60).features
    spoiled[7, 3] = spoiled[7, 4] = spoiled[9, 0] = broken
    samples, reference = (replace(seen(i), held_out=seen(2)) for i in (0, 1))
    assert np.isfinite(metric(samples, reference))
    for whose, pair in (
        ("samples", (replace(samples, features=spoiled), reference)),
        ("reference samples", (samples, replace(reference, features=spoiled))),
        ("held-out data", (samples, replace(reference, held_out=Seen(spoiled)))),
    ):
        with pytest.raises(ValueError, match=f"the features of 2 of 60 {whose} are infinite or NaN"):
            metric(*pair)
    for need in set(metric.needs) - {"labels"}:
        numbers = getattr(samples, need).clone()
        numbers[5] = broken
        with pytest.raises(ValueError, match=f"the {need} of 1 of 60 samples are infinite or NaN"):
            metric(replace(samples, **{need: numbers}), reference)


@pytest.mark.parametrize("name", ["inception_score", "label_accuracy"])
def test_metrics_of_a_classifier_say_that_they_are(name: str) -> None:
    with pytest.raises(ValueError, match="needs the logits of the samples, and they have none"):
        fg.metrics.build(name)(Seen(seen(0).features), seen(1))


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
    reference = replace(seen(1), held_out=seen(2))
    assert isinstance(metric(seen(0), reference), float)
    state = torch.get_rng_state()
    assert metric(seen(0), reference) == metric(seen(0), reference)
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
