import pytest
import torch
from scipy import stats

from flowguide.randomness import derive, normal, philox, seed_layers, uniform

WORD = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        # Known answers published with Random123 (Salmon et al. 2011).
        ([0] * 4, (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([WORD] * 4, (WORD, WORD), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_known_answers(counter: list[int], key: tuple[int, int], expected: list[int]) -> None:
    assert [int(word) for word in philox([torch.tensor(c) for c in counter], key)] == expected


@pytest.mark.parametrize("draw", [normal, uniform])
def test_a_sample_is_the_same_in_any_batch(draw) -> None:
    whole = draw((10, 3, 5), seed=7, stream=2)
    assert torch.equal(torch.cat([draw((4, 3, 5), 7, stream=2), draw((6, 3, 5), 7, stream=2, first=4)]), whole)
    for other in (draw((10, 3, 5), 8, stream=2), draw((10, 3, 5), 7, stream=3)):
        assert not torch.isclose(other, whole).any(dim=0).all()
        assert abs(torch.corrcoef(torch.stack([other.flatten(), whole.flatten()]))[0, 1]) < 0.35


@pytest.mark.parametrize("draw", [normal, uniform])
def test_samples_are_drawn_by_their_numbers(draw) -> None:
    numbers = torch.tensor([7, 0, 2**33, 7])
    few = draw((4, 3, 5), seed=7, stream=2, first=numbers)
    for row, number in zip(few, numbers.tolist(), strict=True):
        assert torch.equal(row, draw((1, 3, 5), 7, stream=2, first=number)[0])
    with pytest.raises(ValueError, match=r"int64 of shape \(4,\), not int64 of shape \(3,\)"):
        draw((4, 3), 7, first=numbers[:3])
    with pytest.raises(ValueError, match="not float32"):
        draw((4, 3), 7, first=numbers.float())


def test_dtypes_round_the_same_numbers() -> None:
    double = normal((1000, 7), 1, dtype=torch.float64)
    assert torch.equal(normal((1000, 7), 1, dtype=torch.float32), double.float())
    assert torch.equal(normal((1000, 7), 1, dtype=torch.bfloat16), double.bfloat16())


def test_distributions() -> None:
    z = normal((20000, 6), 0, dtype=torch.float64)
    assert stats.kstest(z.flatten(), "norm").pvalue > 1e-3
    assert stats.kstest(uniform((20000, 6), 0, dtype=torch.float64).flatten(), "uniform").pvalue > 1e-3
    # Entries of a sample, and neighbouring samples, are independent: also of each other's sizes.
    for a, b in ((z[:, 0], z[:, 1]), (z[:, 0], z[:, 2]), (z[:-1, 0], z[1:, 0])):
        for f in (lambda v: v, torch.square):
            assert abs(torch.corrcoef(torch.stack([f(a), f(b)]))[0, 1]) < 5 / 20000**0.5


def test_derived_seeds_differ() -> None:
    seeds = {derive(0), derive(0, 0), derive(0, 1), derive(0, 1, 0), derive(0, 0, 1), derive(1, 0), derive(0, 2**33)}
    assert len(seeds) == 7
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_layers_are_seeded_as_by_torch() -> None:
    for seed in (0, 2**63 - 1):
        torch.manual_seed(seed)
        expected = torch.rand(3)
        seed_layers(seed, torch.device("cpu"))
        assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, True])
def test_a_seed_is_a_64_bit_integer(seed: object) -> None:
    with pytest.raises(ValueError, match="a seed must be an integer"):
        normal((2, 2), seed)


@pytest.mark.parametrize("draw", [normal, uniform])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": torch.long}, "drawn in a floating dtype, .* not torch.int64"),
        ({"dtype": "float32"}, "drawn in a floating dtype, .* not 'float32'"),
        ({"first": -1}, "an integer from 0, not -1"),
        ({"first": 1.5}, "an integer from 0, not 1.5"),
    ],
)
def test_says_what_is_wrong(draw, change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        draw((4, 2), 0, **change)
