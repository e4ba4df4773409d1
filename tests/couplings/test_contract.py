"""What must hold of every registered coupling."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import generator, seeds

import flowguide as fg

NAMES = fg.couplings.names()
every_coupling = pytest.mark.parametrize("name", NAMES)


def build(name: str, **options: Any) -> fg.couplings.Coupling:
    if name == "sinkhorn":
        pytest.importorskip("ot")
    return fg.couplings.build(name, **options)


def batch(size: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    """Data that depend on their labels, a source, labels, and continuous conditions."""
    g = generator(seed)
    labels = torch.randint(3, (size,), generator=g)
    data = torch.randn(size, 2, 3, generator=g) + 2 * labels[:, None, None]
    source, embedding = torch.randn(size, 2, 3, generator=g), torch.randn(size, 4, generator=g)
    return data.to(dtype), source.to(dtype), labels, embedding


@every_coupling
@given(size=st.integers(1, 20), seed=seeds, conditions=st.sampled_from(["none", "labels", "embedding"]))
def test_every_source_sample_is_used_once(name: str, size: int, seed: int, conditions: str) -> None:
    coupling = build(name)
    data, source, labels, embedding = batch(size, seed)
    cond = {"none": None, "labels": labels, "embedding": embedding}[conditions]
    before = data.clone(), source.clone(), labels.clone(), embedding.clone()
    chosen = coupling.assign(data, source, cond, generator(0))
    assert chosen.dtype == torch.int64
    assert chosen.shape == (size,)
    assert ((chosen >= 0) & (chosen < size)).all()
    if coupling.permutes:
        assert chosen.sort().values.tolist() == list(range(size))
    assert torch.equal(coupling(data, source, cond, generator(0)), source[chosen]), "a generator fixes the pairs"
    # Data and conditions stay where they are.
    assert all(torch.equal(*pair) for pair in zip(before, (data, source, labels, embedding), strict=True))


@every_coupling
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_any_dtype(name: str, dtype: torch.dtype) -> None:
    data, source, labels, embedding = batch(7, dtype=dtype)
    for cond in (None, labels, embedding.to(dtype)):
        paired = build(name)(data, source, cond)
        assert paired.dtype == dtype
        assert paired.isfinite().all()


@every_coupling
def test_autocasting_changes_nothing(name: str) -> None:
    data, source, labels, _ = batch(64, dtype=torch.float32)
    coupling = build(name)
    plain = coupling.assign(data, source, labels, generator(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(coupling.assign(data, source, labels, generator(1)), plain)


@every_coupling
def test_no_gradient_is_recorded(name: str) -> None:
    data, source, labels, _ = batch(5)
    assert not build(name)(data.requires_grad_(), source, labels).requires_grad


@pytest.mark.parametrize("name", [name for name in NAMES if name != "independent"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e200])
def test_a_cost_that_is_not_finite_is_refused(name: str, bad: float) -> None:
    coupling = build(name)
    data, source, labels, embedding = batch(6)
    data[3, 0, 0] = bad
    source[2, 0, 0] = bad
    for cond in (None, labels, embedding):
        with pytest.raises(ValueError, match="a pair whose cost is infinite or NaN; look at"):
            coupling(data, source, cond)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "independent"])
def test_what_does_not_fit(name: str) -> None:
    coupling = build(name)
    data, source, labels, _ = batch(6)
    with pytest.raises(ValueError, match=r"of one shape \(B, \*\), not \(6, 2, 3\) and \(5, 2, 3\)"):
        coupling(data, source[:5])
    with pytest.raises(ValueError, match=r"of one shape"):
        coupling(data[:, 0, 0], source[:, 0, 0])
    with pytest.raises(ValueError, match="one condition per sample: got 5 for 6 samples"):
        coupling(data, source, labels[:5])


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("conditional_ot", {"ratio": 0.0}, r"needs a ratio in \(0, 1\], not 0.0"),
        ("conditional_ot", {"weight": -1.0}, "needs a weight of at least 0, or null to find one, not -1.0"),
        ("conditional_ot", {"distance": "far"}, "one of 'cosine', 'squared', not 'far'"),
        ("sinkhorn", {"regularization": 0.0}, "needs a positive regularization, not 0.0"),
        ("sinkhorn", {"iterations": 0}, "needs at least 1 iteration, not 0"),
        ("optimal", {}, "unknown coupling 'optimal'"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.couplings.build(name, **options)
