"""The diffusion transformer: against a statement of it from the papers, published sizes, and what it takes."""

import math
from typing import Any

import pytest
import stated_dit
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import flowguide as fg
from flowguide.networks.conditioning import Conditioning, masked
from flowguide.networks.positions import rotate, rotations, sines_and_cosines

TINY = {"channels": 3, "depth": 2, "width": 24, "heads": 2}
KINDS: dict[str, dict[str, Any]] = {
    "none": {},
    "labels": {"num_classes": 5},
    "embeddings": {"embedding": 7},
    "sequences": {"sequence": [6, 9]},
}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"patch": 1, "learned_sigma": True},
    {"patch": 4, "qk_norm": True},
    {"norm": "rms", "qk_norm": True, "activation": "swiglu"},
    {"positions": "rope", "registers": 3},
    {"positions": "both", "mlp_ratio": 2.5, "time_scale": 1.0},
    {"closed_frequencies": True, "feed_epsilon": 0.1},
]


def build(std: float = 0.2, **options: Any) -> fg.networks.Network:
    """A small one of random weights, none of them zero."""
    torch.manual_seed(0)
    network = fg.networks.build("dit", **{**TINY, **options})
    for p in network.parameters():
        torch.nn.init.normal_(p, std=std)
    return network


def conditions(kind: str, batch: int = 3) -> Tensor | None:
    """Some of every kind: labels with a null one among them, and sequences with absent tokens."""
    g = torch.Generator().manual_seed(1)
    if kind == "sequences":
        mask = torch.arange(6) < torch.tensor([6, 2, 5])[:batch, None]
        return masked(torch.randn(batch, 6, 9, generator=g), mask)
    made = {"none": None, "labels": torch.tensor([5, 0, 2])[:batch], "embeddings": torch.randn(batch, 7, generator=g)}
    return made[kind]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: ",".join(map(str, v.values())))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_it_is_what_the_papers_say(kind: str, variant: dict, dtype: torch.dtype, bound: float) -> None:
    network = build(**KINDS[kind], **variant).to(dtype)
    x, t, cond = torch.randn(3, 3, 8, 12, dtype=dtype), torch.tensor([0.1, 0.5, 0.97], dtype=dtype), conditions(kind)
    if cond is not None and cond.is_floating_point():
        cond = cond.to(dtype)
    options = {"patch": 2, **TINY, **variant}
    with torch.no_grad():
        expected = stated_dit.forward(network.state_dict(), x, t, cond, options)
        found = network.all_outputs(x, t, cond)
        torch.testing.assert_close(found / expected.std(), expected / expected.std(), rtol=0, atol=bound)
        assert torch.equal(network(x, t, cond), found[:, :3])
        assert found.shape[1] == (6 if variant.get("learned_sigma") else 3)


@pytest.mark.parametrize(("size", "millions"), [("S", 33.0), ("B", 130.5), ("L", 458.1), ("XL", 675.1)])
def test_published_sizes(size: str, millions: float) -> None:
    with torch.device("meta"):
        network = fg.networks.build("dit", **fg.networks.registry.get("dit").presets[f"{size}/2"])
        x = torch.empty(1, 4, 32, 32)
        assert network(x, torch.empty(()), torch.empty(1, dtype=torch.long)).shape == x.shape
    # What is published counts the fixed positions of 16 x 16 patches.
    count = sum(p.numel() for p in network.parameters()) + 256 * network.design.width
    assert round(count / 1e6, 1) == millions


def test_a_network_without_a_null_label_needs_labels() -> None:
    network = build(num_classes=5, null_label=False)
    assert network.needs_condition
    assert network.null(2) is None
    assert len(network.condition.label.weight) == 5
    x, t = torch.zeros(2, 3, 4, 4), torch.tensor(0.5)
    with pytest.raises(ValueError, match="this dit has no null condition, so it predicts nothing without one"):
        network(x, t)
    assert not build(null_label=False).needs_condition  # it takes no labels
    with pytest.raises(ValueError, match=r"label 5 is not one of the 5 classes 0 to 4; the nearest is 4$"):
        network(x, t, torch.tensor([5, 0]))


def test_sizes_and_what_overrides_them() -> None:
    with torch.device("meta"):
        network = fg.networks.build("dit", channels=1, size="B", depth=3, heads=8)
    assert (len(network.blocks), network.design.width, network.design.heads) == (3, 768, 8)


def test_it_starts_as_published() -> None:
    torch.manual_seed(0)
    network = fg.networks.build(
        "dit", channels=4, num_classes=50, sequence=None, width=64, heads=2, depth=2, registers=2
    )
    x = torch.randn(2, 4, 8, 8)
    assert not network(x, torch.tensor(0.5)).any()
    for block in network.blocks:
        assert not block.modulate.weight.any()
        assert not block.modulate.bias.any()
        bound = math.sqrt(6 / (64 + 192))
        assert 0.97 * bound < block.attention.project.weight.abs().max() <= bound
        assert not block.attention.project.bias.any()
    for weight in (network.condition.label.weight, network.time[1].weight, network.time[3].weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert network.enter.weight.abs().max() <= math.sqrt(6 / (64 + 16))
    tokens = fg.networks.build("dit", **TINY, sequence=[4, 5])
    assert not tokens.blocks[0].cross.leave.weight.any()


# Rotary positions.


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3), st.integers(0, 3), st.sampled_from([4, 8, 12, 24]))
def test_rotated_products_depend_on_the_way_between_alone(r: int, c: int, dr: int, dc: int, width: int) -> None:
    g = torch.Generator().manual_seed(r + 10 * c)
    query, key = torch.randn(2, width, generator=g, dtype=torch.float64)
    turned = rotations(10, 10, width, query)

    def at(x: Tensor, row: int, column: int) -> Tensor:
        return rotate(x.expand(100, width), turned)[10 * row + column]

    product = at(query, r, c) @ at(key, r + dr, c + dc)
    torch.testing.assert_close(product, at(query, 0, 0) @ at(key, dr, dc), rtol=0, atol=1e-12)
    torch.testing.assert_close(at(query, r, c).norm(), query.norm())


def test_rotations_leave_registers_where_they_are() -> None:
    x = torch.randn(2, 2 + 12, 8)
    turned = rotate(x, rotations(3, 4, 8, x, unmoved=2))
    assert torch.equal(turned[:, :2], x[:, :2])
    assert torch.equal(turned[:, 2], x[:, 2])
    assert not torch.isclose(turned[:, 3:], x[:, 3:]).all(-1).any()


def test_positions_of_a_wide_grid() -> None:
    table = sines_and_cosines(2, 5, 8, torch.empty(0, dtype=torch.float64))
    torch.testing.assert_close(table, stated_dit.position_table(2, 5, 8), rtol=0, atol=1e-15)


# Conditions.


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
def test_every_kind_of_condition(kind: str) -> None:
    network = build(**KINDS[kind]).eval()
    x, t, cond = torch.randn(3, 3, 4, 4), torch.tensor([0.1, 0.5, 0.9]), conditions(kind)
    output = network(x, t, cond)
    assert output.isfinite().all()
    encoded = network.encode(cond)
    assert network.encode(encoded) is encoded
    assert all(len(part) == 3 for part in encoded)
    assert torch.equal(network(x, t, encoded), output)
    halves = fg.networks.concatenate([network.encode(cond[:1]), network.encode(cond[1:])])
    torch.testing.assert_close(network(x, t, halves), output)
    torch.testing.assert_close(network(x, t, None), network(x, t, network.null(3)))
    assert not torch.isclose(network(x, t, None)[1], output[1]).all()
    # Dropped sample by sample, as in training, and guided.
    field = fg.NetworkField(network, fg.paths.build("linear"))
    dropped = field.drop(cond, torch.tensor([True, False, True]))
    torch.testing.assert_close(network(x, t, dropped)[1], output[1])
    torch.testing.assert_close(network(x, t, dropped)[::2], network(x, t, None)[::2])
    solver = fg.solvers.build("euler", steps=2)
    guided = fg.guidance.build("cfg", field.requires_grad_(False), w=2.0)
    assert fg.sample(guided, (3, 3, 4, 4), cond, solver, seed=0).isfinite().all()
    objective = fg.objectives.build("cfm", label_dropout=0.5)
    assert objective(field, data=x, cond=cond, generator=torch.Generator().manual_seed(0)).isfinite()


def test_sequences_are_encoded_down_to_the_keys_of_every_block() -> None:
    network = build(sequence=[6, 9])
    encoded = network.encode(conditions("sequences"))
    assert len(encoded) == 1 + len(network.blocks)
    for block in network.blocks:  # once encoded, these are not needed
        block.cross.project = None
    assert network(torch.randn(3, 3, 4, 4), torch.tensor(0.5), encoded).isfinite().all()


@pytest.mark.parametrize("kind", ["labels", "embeddings", "sequences"])
def test_a_run_encodes_its_conditions_once(kind: str) -> None:
    network, seen = build(**KINDS[kind]).requires_grad_(False), []
    honest = network.condition.encode
    network.condition.encode = lambda cond: seen.append(len(cond)) or honest(cond)
    guided = fg.guidance.build("cfg", fg.NetworkField(network, fg.paths.build("linear")), w=2.0)
    fg.sample(guided, (3, 3, 4, 4), conditions(kind), fg.solvers.build("euler", steps=5), seed=0)
    assert seen == [3, 3]


def test_absent_tokens_do_not_matter() -> None:
    network = build(sequence=[6, 9]).eval()
    x, t, tokens = torch.randn(2, 3, 4, 4), torch.tensor(0.3), torch.randn(2, 6, 9)
    mask = torch.tensor([[1, 1, 0, 0, 0, 0], [1, 0, 1, 1, 0, 0]])
    other = torch.where(mask.bool()[..., None], tokens, torch.randn(2, 6, 9))
    output = network(x, t, masked(tokens, mask))
    assert torch.equal(output, network(x, t, masked(other, mask)))
    assert not torch.allclose(output, network(x, t, tokens))
    nothing = network(x, t, masked(tokens, torch.zeros(2, 6)))
    assert nothing.isfinite().all()
    with pytest.raises(
        ValueError, match=r"one entry per token, shape \(B, L\) for sequences \(B, L, C\), not \(2, 5\)"
    ):
        masked(tokens, mask[:, :5])


@pytest.mark.parametrize("kind", ["embeddings", "sequences"])
def test_the_null_condition_can_be_set_and_is_kept(kind: str) -> None:
    network, cond = build(**KINDS[kind]), conditions(kind)
    assert not network.null(2).any()
    network.condition.set_null(cond[1])
    assert torch.equal(network.null(2)[1], cond[1]) or torch.equal(network.null(2)[1].isnan(), cond[1].isnan())
    again = build(**KINDS[kind])
    again.load_state_dict(network.state_dict())
    x, t = torch.randn(3, 3, 4, 4), torch.tensor(0.3)
    assert torch.equal(again(x, t), network(x, t, cond[1:2].expand_as(cond)))
    with pytest.raises(ValueError, match="takes"):
        network.condition.set_null(torch.zeros(3))


# How it is run.


@pytest.mark.parametrize("positions", ["sincos", "rope"])
def test_any_size_and_aspect(positions: str) -> None:
    network = build(num_classes=5, positions=positions)
    for size in ((8, 8), (4, 12), (16, 2)):
        x = torch.randn(2, 3, *size)
        assert network(x, torch.rand(2), torch.tensor([0, 1])).shape == x.shape
    # Where a patch is matters, in both directions.
    x = torch.randn(1, 3, 8, 8)
    for axis in (2, 3):
        moved = network(x.roll(2, axis), torch.tensor(0.5)).roll(-2, axis)
        assert not torch.allclose(moved, network(x, torch.tensor(0.5)), rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_checkpointing_changes_no_gradient(kind: str) -> None:
    x, t, cond, found = torch.randn(3, 3, 4, 4), torch.rand(3), conditions(kind), []
    for checkpointing in (False, True):
        network = build(**KINDS[kind], positions="both", checkpointing=checkpointing)
        network(x, t, cond).square().sum().backward()
        found.append([p.grad for p in network.parameters()])
    assert all(torch.equal(plain, again) for plain, again in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("kind", "checkpointing"),
    [
        ("labels", False),
        *(pytest.param(kind, False, marks=pytest.mark.slow) for kind in KINDS if kind != "labels"),
        pytest.param("labels", True, marks=pytest.mark.slow),
    ],
)
def test_it_compiles_to_one_graph(kind: str, checkpointing: bool) -> None:
    torch._dynamo.reset()
    network = build(**KINDS[kind], depth=1, positions="both", registers=1, qk_norm=True, checkpointing=checkpointing)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    x, t, cond = torch.randn(3, 3, 4, 4), torch.rand(3), conditions(kind)
    torch.testing.assert_close(compiled(x, t, cond), network(x, t, cond), rtol=1e-4, atol=1e-5)
    found = []
    for run in (compiled, network):
        network.zero_grad()
        run(x, t, cond).square().mean().backward()
        found.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3 * found[1].abs().max().item())
    if cond is not None:
        with torch.no_grad():
            encoded = network.encode(cond)
            torch.testing.assert_close(compiled(x, t, encoded), network(x, t, cond), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_autocast(kind: str) -> None:
    network = build(0.05, **KINDS[kind], positions="both", registers=1, qk_norm=True)
    x, t, cond = torch.randn(3, 3, 8, 8), torch.rand(3), conditions(kind)
    exact = network(x, t, cond)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(x, t, cond)
    rough.float().square().sum().backward()
    assert (rough - exact).norm() < 0.03 * exact.norm()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_as_an_energy_it_can_be_differentiated_twice() -> None:
    inner = {"name": "dit", "width": 24, "heads": 2, "depth": 1, "positions": "both"}
    network = fg.networks.build("energy", network=inner, shape=[1, 4, 4], num_classes=3)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.1)
    network(torch.randn(2, 1, 4, 4), torch.rand(2), torch.tensor([0, 3])).square().sum().backward()
    assert network.network.enter.weight.grad.any()


def test_published_steps_are_told_as_they_are() -> None:
    """A network of discrete time is told its steps, integers or not."""
    network, ours = build(time_scale=1.0), build()
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(network(x, torch.tensor([250, 500])), network(x, torch.tensor([250.0, 500.0])))
    assert torch.equal(network(x, torch.tensor([250, 500])), ours(x, torch.tensor([0.25, 0.5])))


# What it does not take.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heads": 5}, "heads must divide the width 24, and 5 does not; the nearest that does is 4$"),
        ({"width": 30}, "a dit's width must be a multiple of 4, not 30; the nearest is 32$"),
        (
            {"heads": 4, "positions": "rope"},
            "width is a multiple of 4, not 6; the nearest number of heads is 3$",
        ),
        ({"patch": 0}, "a dit needs patch >= 1, not 0"),
        ({"depth": 0}, "a dit needs depth >= 1, not 0"),
        ({"channels": 0}, "a dit needs channels >= 1, not 0"),
        ({"registers": -1}, "registers is a number of tokens, at least 0, not -1"),
        ({"mlp_ratio": 0.0}, "mlp_ratio 0.0 leaves no perceptron at width 24"),
        ({"size": "M"}, "must be one of 'S', 'B', 'L', 'XL' or null, not 'M'"),
        ({"num_classes": 0}, "num_classes must be at least 1, or null for no labels, not 0"),
        ({"embedding": 0}, "embedding is the width of a dit's conditions, at least 1, not 0"),
        ({"sequence": [77]}, r"sequence is the length and width of a dit's conditions, \[77, 768\], not \[77\]"),
        ({"num_classes": 3, "embedding": 4}, "conditions of one kind: set num_classes or embedding and not both"),
    ],
)
def test_it_says_which_options_are_wrong(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.networks.build("dit", **{**TINY, **options})


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (
            (2, 3, 9, 8),
            r"patches of 2x2, .* multiples of 2, not \(9, 8\); the nearest is \(8, 8\)$",
        ),
        ((2, 3, 0, 8), r"multiples of 2, not \(0, 8\); the nearest is \(2, 8\)$"),
        ((2, 1, 8, 8), r"takes images of shape \(B, 3, H, W\), not \(2, 1, 8, 8\)$"),
        ((2, 3), r"takes images of shape \(B, 3, H, W\), not \(2, 3\)$"),
    ],
)
def test_it_says_which_images_are_wrong(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()(torch.zeros(shape), torch.tensor(0.5))


@pytest.mark.parametrize(
    ("kind", "cond", "words"),
    [
        ("labels", torch.tensor([0, 6]), "label 6 is not one of the 5 classes 0 to 4 .*the nearest is 4$"),
        ("labels", torch.tensor([-1, 0]), "label -1 is not one of the 5 classes 0 to 4 .*the nearest is 0$"),
        ("labels", torch.zeros(2, 7), r"takes labels, integers of shape \(B,\), not float32 of shape \(2, 7\)$"),
        ("embeddings", torch.zeros(2, 8), r"takes embeddings of shape \(B, 7\), not float32 of shape \(2, 8\)$"),
        ("embeddings", torch.tensor([0, 1]), r"takes embeddings of shape \(B, 7\), not int64 of shape \(2,\)$"),
        ("sequences", torch.zeros(2, 5, 9), r"takes sequences of shape \(B, 6, 9\), not float32 of shape \(2, 5, 9\)$"),
        ("none", torch.tensor([0, 1]), r"takes no conditions: cond must be None, not int64 of shape \(2,\)$"),
    ],
)
def test_it_says_which_conditions_are_wrong(kind: str, cond: Tensor, words: str) -> None:
    network = build(**KINDS[kind])
    with pytest.raises(ValueError, match=words):
        network(torch.zeros(2, 3, 4, 4), torch.tensor(0.5), cond)
    with pytest.raises(ValueError, match="a dit takes images"):
        fg.networks.registry.get("dit").options_for((2,), 3)


def test_conditioning_is_of_one_width_for_all_kinds() -> None:
    for kind, options in KINDS.items():
        if kind != "none":
            made = Conditioning("test", 16, **options).encode(conditions(kind))
            assert made[0].shape[-1] == 16


def test_what_it_costs() -> None:
    """Against sums by hand: linear layers, and the two products of attention, a pair of operations per number."""
    network = fg.networks.build("dit", channels=1, patch=2, depth=1, width=8, heads=2)
    found = fg.networks.cost(network, (1, 4, 6))
    tokens = 6
    per_token = 4 * 8 + 8 * 24 + 2 * tokens * 8 + 8 * 8 + 2 * 8 * 32 + 8 * 4
    per_sample = 256 * 8 + 8 * 8 + 8 * 48 + 8 * 16
    assert found.flops == 2 * (tokens * per_token + per_sample)
    assert found.parameters == sum(p.numel() for p in network.parameters())
    with torch.device("meta"):
        assert fg.networks.cost(fg.networks.build("dit", channels=1, depth=1, width=8, heads=2), (1, 4, 6)) == found
