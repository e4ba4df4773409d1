"""The U-Net and its encoder: what trained checkpoints rely on, and every option of ADM."""

import hashlib

import pytest
import torch
from torch import nn

import flowguide as fg
from flowguide.networks.resampling import Doubling

RECIPE = {"channels": 1, "num_classes": 10, "width": 32, "multipliers": [1, 2], "blocks": 1, "attention": [1]}


def filled(network: nn.Module, std: float = 0.1) -> nn.Module:
    """With random numbers in the parameters that start at zero."""
    g = torch.Generator().manual_seed(0)
    for _, p in sorted(network.named_parameters()):
        if not p.any():
            nn.init.normal_(p, std=std, generator=g)
    return network


@pytest.mark.parametrize(
    ("name", "more", "names", "weights", "outputs"),
    [
        ("unet", {}, "51c4a347e99a7daf", 18823.1613, [-1.37287, 0.27581, 1.79424, 1.31705]),
        ("unet_encoder", {"size": [8, 8]}, "37f972ce06d5b17b", 9831.7893, [-0.03131, 0.05569, -0.10975, 0.11012]),
    ],
)
def test_the_networks_of_the_recipes_stay_what_they_are(
    name: str, more: dict, names: str, weights: float, outputs: list[float]
) -> None:
    """Names, shapes, initial weights and outputs: those that the checkpoints of the first release have."""
    torch.manual_seed(0)
    network = fg.networks.build(name, **RECIPE, **more)
    listed = "\n".join(f"{key} {tuple(value.shape)}" for key, value in sorted(network.state_dict().items()))
    assert hashlib.sha256(listed.encode()).hexdigest()[:16] == names
    assert sum(p.abs().sum().item() for p in network.parameters()) == pytest.approx(weights, abs=1e-3)
    x, t = torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8), torch.tensor([0.3, 0.8])
    labels = [torch.tensor([3, 10])] if name == "unet" else []
    found = filled(network)(x, t, *labels).flatten()
    torch.testing.assert_close(found[:: 37 if name == "unet" else 5], torch.tensor(outputs), rtol=1e-4, atol=1e-4)


SMALL = {"channels": 2, "num_classes": 3, "width": 16, "multipliers": [1, 2], "blocks": 1, "head_width": 8}
# Every option away from its default, alone or where it needs another.
OPTIONS = {
    "default": {},
    "heads": {"heads": 4},
    "legacy order": {"attention_order": "legacy"},
    "added embedding": {"scale_shift": False},
    "residual resampling": {"resampling": "residual"},
    "pool": {"resampling": "pool"},
    "groups": {"groups": 4},
    "stem": {"stem": 8},
    "rescaled": {"rescale": True, "attention": [0, 1]},
    "blocks per level": {"blocks": [1, 3]},
    "fractional": {"multipliers": [0.5, 1, 2]},
    "attention sizes": {"attention_sizes": [8, 4], "size": [8, 8]},
    "no middle attention": {"middle_attention": False},
    "dropout": {"dropout": 0.5},
    "checkpointing": {"checkpointing": True},
    "padded below and right": {"resampling": "asymmetric"},
}
NETWORKS = {
    **{("unet", name): options for name, options in OPTIONS.items()},
    ("unet", "learned sigma"): {"learned_sigma": True},
    ("unet", "no null label"): {"null_label": False},
    ("unet", "epsilon"): {"epsilon": 1e-3},
    ("unet", "closed frequencies"): {"closed_frequencies": True},
    ("unet", "embedding"): {"num_classes": None, "embedding": 5},
    ("unet", "sequence"): {"num_classes": None, "sequence": [4, 5], "checkpointing": True},
    **{("unet_encoder", name): {"size": [8, 8], **options} for name, options in OPTIONS.items()},
    **{
        ("unet_encoder", pool): {"size": [8, 8], "pool": pool}
        for pool in ("attention_to_logits", "adaptive", "spatial", "spatial_v2")
    },
}


def build(kind: str, options: dict) -> nn.Module:
    torch.manual_seed(0)
    return filled(fg.networks.build(kind, **{**SMALL, "attention": [1], **options}))


def inputs(kind: str, batch: int = 2) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(1)
    x, t = torch.randn(batch, 2, 8, 8, generator=g), torch.rand(batch, generator=g)
    return (x, t, torch.arange(batch) % 3) if kind == "unet" else (x, t)


def inputs_of(kind: str, name: str) -> tuple[torch.Tensor, ...]:
    """The same with conditions of another kind, where these are what the network takes."""
    shape = {"embedding": (2, 5), "sequence": (2, 4, 5)}.get(name)
    g = torch.Generator().manual_seed(2)
    return inputs(kind) if shape is None else (*inputs(kind)[:2], torch.randn(shape, generator=g))


@pytest.mark.parametrize(("kind", "name"), NETWORKS)
def test_every_option_makes_a_network_that_trains(kind: str, name: str) -> None:
    network = build(kind, NETWORKS[kind, name])
    given = inputs_of(kind, name)
    output = network(*given)
    assert output.shape == ((2, 2, 8, 8) if kind == "unet" else (2, 3))
    assert torch.equal(network.eval()(*given), network(*given))
    output.square().sum().backward()
    assert not [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]


QUICK = [("unet", "residual resampling"), ("unet_encoder", "attention_to_logits")]
EVERY = [pytest.param(*case, marks=[] if case in QUICK else [pytest.mark.slow]) for case in NETWORKS]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_compiles_without_a_break(kind: str, name: str) -> None:
    network = build(kind, NETWORKS[kind, name]).eval()
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        given = inputs_of(kind, name)
        torch.testing.assert_close(compiled(*given), network(*given), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_compiles_without_a_break(checkpointing: bool) -> None:
    network = build("unet", {"checkpointing": checkpointing, "resampling": "residual"})
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    gradients = []
    for call in (network, compiled):
        network.zero_grad()
        call(*inputs("unet")).square().sum().backward()
        gradients.append([p.grad.clone() for p in network.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["unet", "unet_encoder"])
def test_checkpointing_changes_no_gradient(kind: str) -> None:
    more = {"size": [8, 8]} if kind == "unet_encoder" else {}
    gradients = []
    for checkpointing in (False, True):
        network = build(kind, {**more, "dropout": 0.3, "checkpointing": checkpointing})
        torch.manual_seed(5)
        network(*inputs(kind)).square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("kind", "name"), [("unet", "residual resampling"), ("unet_encoder", "spatial_v2")])
def test_autocast_and_half_precision(kind: str, name: str) -> None:
    network = build(kind, NETWORKS[kind, name]).eval()
    seen = []
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.register_forward_hook(lambda module, given, found: seen.append((given[0], found, module)))
    with torch.no_grad():
        expected = network(*inputs(kind))
        seen.clear()
        with torch.autocast("cpu", torch.bfloat16):
            found = network(*inputs(kind))
        assert all(result.dtype == x.dtype for x, result, _ in seen)
        x, _, norm = seen[1]
        assert x.dtype == torch.bfloat16
        exact = nn.functional.group_norm(x.float(), norm.num_groups, norm.weight, norm.bias, 1e-5)
        assert torch.equal(norm(x), exact.bfloat16()), "in float32, and rounded once"
        assert (found.float() - expected).norm() < 0.05 * expected.norm()
        x, t, *labels = inputs(kind)
        short = network.bfloat16()(x.bfloat16(), t.bfloat16(), *labels)
    assert short.dtype == torch.bfloat16
    assert (short.float() - expected).norm() < 0.2 * expected.norm()


def test_dropout_is_of_the_same_pixels_in_every_memory_format() -> None:
    """Shares of a model cannot lie with their channels innermost, and take the steps of whole ones."""
    options = {"width": 8, "multipliers": [1], "blocks": 1, "attention": []}
    network = fg.networks.build("unet", channels=1, dropout=0.5, **options).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, found = torch.randn(2, 1, 4, 4).double(), []
    for memory_format in (torch.channels_last, torch.contiguous_format):
        torch.manual_seed(0)
        found.append(network.to(memory_format=memory_format)(x, torch.tensor([0.2, 0.7]).double()))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", ["default", "residual resampling"])
@pytest.mark.parametrize("batch", [1, 40])
def test_memory_formats_agree(name: str, batch: int) -> None:
    """Of 40 images there are pixels enough for the doubling convolution to go the other way."""
    network = build("unet", NETWORKS["unet", name]).double().eval()
    x, t, y = inputs("unet", batch)
    rest = t.double(), y
    expected = network(x.double(), *rest)
    innermost = network(x.double().to(memory_format=torch.channels_last), *rest)
    torch.testing.assert_close(innermost, expected, rtol=1e-10, atol=1e-10)
    network.to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(network(x.double(), *rest), expected, rtol=1e-10, atol=1e-10)
    with torch.no_grad():  # where activations are in place
        torch.testing.assert_close(network(x.double(), *rest), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("channels_last", [False, True])
def test_doubling_is_nearest_neighbours_and_a_convolution(channels_last: bool) -> None:
    doubling = Doubling(3, 5).double()
    x = torch.randn(8, 3, 16, 18, dtype=torch.float64, requires_grad=True)
    given = x.to(memory_format=torch.channels_last) if channels_last else x
    plain = nn.functional.conv2d(
        nn.functional.interpolate(given, scale_factor=2, mode="nearest"), doubling.weight, doubling.bias, padding=1
    )
    torch.testing.assert_close(doubling(given), plain, rtol=1e-12, atol=1e-12)
    v = torch.randn_like(plain)
    for found, expected in zip(
        *(torch.autograd.grad(each, [x, *doubling.parameters()], v) for each in (doubling(given), plain)), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert set(doubling.state_dict()) == {"weight", "bias"}


def test_attention_at_heights_is_attention_at_levels() -> None:
    by_height = build("unet", {"attention_sizes": [4], "size": [8, 8]})
    assert torch.equal(by_height(*inputs("unet")), build("unet", {"attention": [1]})(*inputs("unet")))


def test_a_learned_variance_is_dropped() -> None:
    network = build("unet", {"learned_sigma": True})
    assert network.leave[2].weight.shape[0] == 4
    output = network(*inputs("unet"))
    output.sum().backward()
    assert network.leave[2].weight.grad[:2].any()
    assert not network.leave[2].weight.grad[2:].any()


def test_a_network_without_a_null_label_needs_labels() -> None:
    network = build("unet", {"null_label": False})
    assert network.null(2) is None
    assert network.embed.label.num_embeddings == 3
    with pytest.raises(ValueError, match="no null condition, so it predicts nothing without one: pass cond"):
        network(*inputs("unet")[:2])
    energy = fg.networks.build("energy", network={"name": "unet", **SMALL, "null_label": False, "attention": []})
    assert energy.needs_condition


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"multipliers": [1, 0.3]}, "0.3 of 16 is 4.8; the nearest is 0.3125"),
        ({"blocks": [1, 2, 3]}, r"2 levels needs 2 numbers of blocks, or one, not \[1, 2, 3\]"),
        ({"blocks": [1, 0]}, "blocks >= 1, not 0"),
        ({"heads": 5}, "5 heads do not divide the 32 channels of level 1; the nearest is 4"),
        ({"heads": 0}, "heads >= 1"),
        ({"head_width": 12}, "head_width 12 does not divide the 32 channels of level 1; the nearest is"),
        ({"groups": 32}, "32 groups do not divide 16 channels of this unet; the most that do is 16"),
        ({"stem": 0}, "stem >= 1"),
        ({"attention_sizes": [4]}, "needs the size of its images"),
        ({"attention_sizes": [5], "size": [8, 8]}, "are 8, 4 at the levels of this unet; the nearest is 4"),
        ({"resampling": "pooling"}, "must be one of 'convolution', 'asymmetric', 'pool', 'residual'"),
        ({"epsilon": 0.0}, "epsilon is a small number that keeps variances from 0, as 1e-5, not 0.0"),
        ({"attention_order": "old"}, "must be one of 'new', 'legacy'"),
        ({"embedding": 5}, "conditions of one kind: set num_classes or embedding and not both"),
        ({"num_classes": None, "sequence": [4]}, r"length and width of a unet's conditions, \[77, 768\], not \[4\]"),
        ({"num_classes": None, "embedding": 0}, "the width of a unet's conditions, at least 1, not 0"),
        ({"num_classes": None, "sequence": [4, 5], "attention": []}, "this unet needs attention"),
    ],
)
def test_the_options_of_adm_say_what_is_wrong(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        build("unet", options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["embedding", "sequence"])
def test_embeddings_and_sequences_are_conditions_sample_by_sample(kind: str) -> None:
    network = build("unet", {"num_classes": None, kind: {"embedding": 5, "sequence": [4, 5]}[kind]}).eval()
    x, t, cond = inputs_of("unet", kind)
    output = network(x, t, cond)
    torch.testing.assert_close(network(x[1:], t[1:], cond[1:]), output[1:], rtol=1e-4, atol=1e-5)
    assert torch.equal(network(x, t, network.encode(cond)), output)
    assert torch.equal(network(x, t), network(x, t, network.null(2)))
    assert network.null(2).shape == cond.shape
    field = fg.NetworkField(network, fg.paths.build("linear"))
    dropped = network(x, t, field.drop(cond, torch.tensor([True, False])))
    torch.testing.assert_close(dropped[1], output[1])
    torch.testing.assert_close(dropped[0], network(x, t)[0])
    assert not torch.allclose(dropped[0], output[0])
    guided = fg.guidance.build("cfg", field, w=2.0)
    assert fg.sample(guided, (2, 2, 8, 8), cond, fg.solvers.build("euler", steps=2)).isfinite().all()
    with pytest.raises(
        ValueError, match=r"takes (embeddings|sequences) of shape \(B, (4, )?5\), not float32 of shape \(2, 3\)"
    ):
        network(x, t, torch.zeros(2, 3))


def test_absent_tokens_are_not_attended_to() -> None:
    network = build("unet", {"num_classes": None, "sequence": [4, 5]}).eval()
    x, t, cond = inputs_of("unet", "sequence")
    cond[0, 2:] = torch.nan
    shuffled = cond.clone()
    shuffled[0, 2:, 1:] = 7.0  # the mark is in the first entry
    output = network(x, t, cond)
    torch.testing.assert_close(network(x, t, shuffled), output)
    torch.testing.assert_close(network(x, t, cond[:, [1, 0, 3, 2]])[0], output[0], rtol=1e-4, atol=1e-5)
    assert network(x, t, torch.full_like(cond, torch.nan)).isfinite().all()
