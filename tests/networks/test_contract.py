"""What must hold of every registered network, by what it is, and of the U-Net and its layers."""

import math
import re

import pytest
import torch

import flowguide as fg
from flowguide.networks.embedding import TimeFeatures
from flowguide.networks.layers import group_norm
from flowguide.networks.unet_encoder import AttentionPool

# Shapes of samples that networks may take; each is tested on those that it accepts.
SHAPES = [(2,), (1, 8, 8), (3, 32, 32)]


def cases(base: type) -> list[tuple[str, tuple[int, ...]]]:
    """Every network of a kind with every shape that it takes."""
    found = []
    for name in fg.networks.names():
        for shape in SHAPES:
            component = fg.networks.registry.get(name)
            if not issubclass(component, base):
                continue
            try:
                component.options_for(shape, 3)
            except ValueError:
                continue
            found.append((name, shape))
    return found


def build(name: str, shape: tuple[int, ...], classes: int | None = 3) -> fg.networks.Network:
    torch.manual_seed(0)
    return fg.networks.build(name, **fg.networks.registry.get(name).options_for(shape, classes))


every_case = pytest.mark.parametrize(("name", "shape"), cases(fg.networks.Network))
every_noisy_classifier = pytest.mark.parametrize(("name", "shape"), cases(fg.networks.NoisyClassifier))


@every_case
def test_shape_and_gradient(name: str, shape: tuple[int, ...]) -> None:
    network = build(name, shape)
    x, y = torch.randn(4, *shape), torch.tensor([0, 1, 2, 3])
    for t in (torch.tensor(0.3), torch.rand(4)):
        output = network(x, t, y)
        assert output.shape == x.shape
    # Zero-initialised layers hide the rest until they have moved: a few steps, and every parameter has a gradient.
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        (network(x, torch.rand(4), y) - x).square().mean().backward()
        optimizer.step()
    untouched = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not untouched


@every_case
def test_time_and_label_matter_sample_by_sample(name: str, shape: tuple[int, ...]) -> None:
    network = build(name, shape).eval()
    g = torch.Generator().manual_seed(0)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.1, generator=g)
    x, t, y = torch.randn(4, *shape, generator=g), torch.tensor([0.1, 0.4, 0.6, 0.9]), torch.tensor([0, 1, 2, 3])
    together = network(x, t, y)
    for i in range(4):
        torch.testing.assert_close(network(x[i : i + 1], t[i], y[i : i + 1]), together[i : i + 1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(network(x, t.flip(0), y), together)
    changed = network(x, t, torch.tensor([1, 1, 2, 3]))
    assert not torch.allclose(changed[0], together[0])
    torch.testing.assert_close(changed[1:], together[1:], rtol=1e-4, atol=1e-4)


@every_case
@pytest.mark.parametrize("classes", [3, None])
def test_encoded_conditions_are_as_good_as_conditions(name: str, shape: tuple[int, ...], classes: int | None) -> None:
    network = build(name, shape, classes).eval()
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.1)
    x, t = torch.randn(4, *shape), torch.rand(4)
    for cond in [None] if classes is None else [torch.tensor([0, 1, 2, 3]), network.null(4)]:
        encoded = None if cond is None else network.encode(cond)
        assert torch.equal(network(x, t, encoded), network(x, t, cond))
        if isinstance(encoded, fg.networks.Encoded):
            assert network.encode(encoded) is encoded
            halves = [network.encode(cond[:2]), network.encode(cond[2:])]
            assert torch.equal(network(x, t, fg.networks.concatenate(halves)), network(x, t, cond))
            assert all(len(part) == 4 for part in encoded)


@every_case
def test_no_label_is_the_null_label(name: str, shape: tuple[int, ...]) -> None:
    network = build(name, shape).eval()
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.1)
    x = torch.randn(2, *shape)
    torch.testing.assert_close(network(x, torch.tensor(0.5), None), network(x, torch.tensor(0.5), network.null(2)))
    unlabelled = build(name, shape, None)
    assert unlabelled.null(2) is None
    assert unlabelled(x, torch.tensor(0.5), None).shape == x.shape


@every_noisy_classifier
def test_noisy_classifiers_give_logits_and_gradients(name: str, shape: tuple[int, ...]) -> None:
    network = build(name, shape)
    x, y = torch.randn(4, *shape), torch.tensor([0, 1, 2, 0])
    for t in (torch.tensor(0.3), torch.rand(4)):
        assert network(x, t).shape == (4, 3)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(x, torch.full((4,), 0.9)), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(3), abs=1e-5), "a new one knows nothing"
    assert losses[-1] < 0.5 * losses[0]
    untouched = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not untouched


@every_noisy_classifier
def test_noisy_classifiers_see_time_sample_by_sample(name: str, shape: tuple[int, ...]) -> None:
    network = build(name, shape).eval()
    g = torch.Generator().manual_seed(0)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.1, generator=g)
    x, t = torch.randn(4, *shape, generator=g), torch.tensor([0.1, 0.4, 0.6, 0.9])
    together = network(x, t)
    for i in range(4):
        torch.testing.assert_close(network(x[i : i + 1], t[i]), together[i : i + 1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(network(x, t.flip(0)), together)
    assert not torch.allclose(network(x.flip(0), t), together)


def filled(network: torch.nn.Module) -> torch.nn.Module:
    """With random numbers in every parameter: layers that start at zero hide what comes before them."""
    g = torch.Generator().manual_seed(0)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.1, generator=g)
    return network


def inputs_of(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(2, *shape, generator=g), torch.rand(2, generator=g), torch.tensor([0, 3])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), dict(reversed(cases(fg.networks.Network))).items())
def test_it_compiles_to_one_graph(name: str, shape: tuple[int, ...]) -> None:
    network, (x, t, y) = filled(build(name, shape)).eval(), inputs_of(shape)
    torch.compiler.reset()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    with torch.no_grad():
        for given in ((x, t, y), (x, t[0], y), (x, t), (x, t, network.encode(y))):
            torch.testing.assert_close(compiled(*given), network(*given), rtol=1e-4, atol=1e-4)


@every_case
def test_bfloat16_autocast_is_close(name: str, shape: tuple[int, ...]) -> None:
    network, (x, t, y) = filled(build(name, shape)), inputs_of(shape)
    exact = network(x, t, y)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(x, t, y)
    assert (rounded.float() - exact).norm() < 0.05 * exact.norm()
    rounded.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(("name", "shape"), [case for case in cases(fg.networks.Network) if len(case[1]) == 3])
def test_how_images_lie_in_memory_changes_nothing(name: str, shape: tuple[int, ...]) -> None:
    network, (x, t, y) = filled(build(name, shape)).eval().double(), inputs_of(shape)
    x, t = x.double(), t.double()
    expected = network(x, t, y)
    torch.testing.assert_close(network(x.to(memory_format=torch.channels_last), t, y), expected)
    torch.testing.assert_close(network.to(memory_format=torch.contiguous_format)(x, t, y), expected)


def gradients_and_kept(network: torch.nn.Module, shape: tuple[int, ...]) -> tuple[list[torch.Tensor], int]:
    """The gradients of a step, and how many numbers were kept for them."""
    kept = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network(*inputs_of(shape)).square().mean()
    loss.backward()
    return [p.grad for p in network.parameters()], sum(kept)


@pytest.mark.parametrize(("name", "shape"), [case for case in cases(fg.networks.Network) if case[0] != "energy"])
def test_checkpointing_changes_no_gradient(name: str, shape: tuple[int, ...]) -> None:
    """An energy has the option of the network within."""
    options = fg.networks.registry.get(name).options_for(shape, 3)
    expected, all_kept = gradients_and_kept(filled(fg.networks.build(name, **options)), shape)
    network = filled(fg.networks.build(name, **options, checkpointing=True))
    found, less_kept = gradients_and_kept(network, shape)
    assert less_kept < 0.7 * all_kept
    torch.testing.assert_close(found, expected)


@every_noisy_classifier
def test_noisy_classifiers_need_labels(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="label"):
        fg.networks.registry.get(name).options_for(shape, None)
    with pytest.raises(ValueError, match="num_classes >= 1, not 0"):
        fg.networks.build(name, **{**fg.networks.registry.get(name).options_for(shape, 3), "num_classes": 0})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": [8]}, r"needs the size of its images, \[height, width\], not \[8\]"),
        ({"size": [8, 10]}, r"multiples of 4, not \(8, 10\); the nearest is \(8, 8\)"),
        ({"size": [8, 0]}, "multiples of 4"),
        ({"head_width": 24, "attention": []}, "head_width 24 does not divide the 128 channels that are pooled"),
        ({"attention": [5]}, "attention names level 5, but this unet_encoder has levels 0 to 2"),
        ({"width": 30}, "a unet_encoder's width must be a multiple of 4"),
    ],
)
def test_unet_encoder_says_what_is_wrong(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.networks.build("unet_encoder", **{"channels": 1, "num_classes": 3, "size": [8, 8], **options})


def test_noisy_classifiers_say_what_they_take() -> None:
    network = fg.networks.build("unet_encoder", channels=1, num_classes=3, size=[8, 12], width=8, head_width=8)
    assert network(torch.zeros(2, 1, 8, 12), torch.tensor(0.5)).shape == (2, 3)
    with pytest.raises(ValueError, match=r"images of shape \(B, 1, H, W\), not \(1, 3, 8, 12\)"):
        network(torch.zeros(1, 3, 8, 12), torch.tensor(0.5))
    with pytest.raises(ValueError, match=r"takes images of \(8, 12\) pixels, not \(12, 8\)"):
        network(torch.zeros(1, 1, 12, 8), torch.tensor(0.5))
    with pytest.raises(ValueError, match="takes samples of 2 entries, not of shape"):
        fg.networks.build("mlp_classifier", dim=2, num_classes=3)(torch.zeros(1, 3), torch.tensor(0.5))


def test_the_pool_sees_where_pixels_are_and_all_of_them() -> None:
    torch.manual_seed(0)
    pool = AttentionPool(8, 6, 2)
    x = torch.randn(2, 8, 2, 3, requires_grad=True)
    pooled = pool(x)
    assert pooled.shape == (2, 8)
    assert not torch.allclose(pool(x.flip(3)), pooled)
    pooled.sum().backward()
    assert x.grad.abs().sum(1).min() > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 30}, "multiple of 4, not 30; the nearest is 32"),
        ({"width": 0}, "width >= 1"),
        ({"multipliers": []}, "at least one multiplier"),
        ({"multipliers": [1, 0]}, "at least one multiplier, each positive"),
        ({"attention": [5]}, "attention names level 5, but this unet has levels 0 to 2"),
        ({"head_width": 24}, "head_width 24 does not divide the 128 channels of level 1"),
        ({"blocks": 0}, "blocks >= 1"),
        ({"dropout": 1.0}, r"dropout is a probability in \[0, 1\)"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
    ],
)
def test_unet_says_what_is_wrong(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.networks.build("unet", channels=1, **options)


def test_unet_says_what_images_it_takes() -> None:
    network = fg.networks.build("unet", channels=1, width=8, head_width=8)
    with pytest.raises(ValueError, match=r"multiples of 4, not \(10, 8\); the nearest is \(8, 8\)"):
        network(torch.zeros(1, 1, 10, 8), torch.tensor(0.5))
    with pytest.raises(ValueError, match=r"images of shape \(B, 1, H, W\), not \(1, 3, 8, 8\)"):
        network(torch.zeros(1, 3, 8, 8), torch.tensor(0.5))
    with pytest.raises(ValueError, match="a unet takes images"):
        fg.networks.registry.get("unet").options_for((2,), 3)
    assert network(torch.zeros(1, 1, 12, 20), torch.tensor(0.5)).shape == (1, 1, 12, 20)


def test_mlp_says_what_it_takes() -> None:
    with pytest.raises(ValueError, match="takes samples of 2 entries, not of shape \\(3,\\)"):
        fg.networks.build("mlp", dim=2)(torch.zeros(1, 3), torch.tensor(0.5))
    with pytest.raises(ValueError, match="an mlp needs depth >= 1"):
        fg.networks.build("mlp", dim=2, depth=0)


def test_time_features() -> None:
    """Cosines before sines, frequencies falling geometrically from 1000 (t in [0, 1]) by 10000 over half the width."""
    t = torch.tensor([0.0, 0.25], dtype=torch.float64)
    features = TimeFeatures(4)(t)
    expected = [[1, 1, 0, 0], [torch.tensor(v).item() for v in (0.240988305, -0.801143616, -0.970528019, 0.598472144)]]
    torch.testing.assert_close(features[0], torch.tensor(expected[0], dtype=torch.float64))
    angles = torch.tensor([250.0, 2.5], dtype=torch.float64)
    torch.testing.assert_close(features[1], torch.cat([angles.cos(), angles.sin()]), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="must be even and positive, not 5"):
        TimeFeatures(5)


@pytest.mark.parametrize(("channels", "groups"), [(4, 1), (24, 6), (32, 8), (128, 32), (320, 32), (36, 9), (1, 1)])
def test_group_norm_divides(channels: int, groups: int) -> None:
    assert group_norm(channels).num_groups == groups


CLASSIFIERS = [n for n in fg.networks.names() if issubclass(fg.networks.registry.get(n), fg.networks.Classifier)]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name: str) -> None:
    network = build(name, (1, 8, 8)).eval()
    x = torch.randn(3, 1, 8, 8)
    assert network.features(x).ndim == 2
    assert network(x).shape == (3, network.num_classes)
    assert torch.equal(network(x), network.classify(network.features(x)))
    network(x).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_convnet_says_what_it_takes() -> None:
    with pytest.raises(ValueError, match="a convnet takes labelled images"):
        fg.networks.registry.get("convnet").options_for((2,), 3)


OTHERS = [(torch.float64, "float64", "double"), (torch.float16, "float16", "half")]


@pytest.mark.parametrize(("dtype", "word", "call"), OTHERS)
@every_case
def test_a_field_is_given_numbers_of_its_networks_type(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, word: str, call: str
) -> None:
    """Or of one that the network takes as well, as the energy takes halves."""
    network = build(name, shape)
    field, x, y = fg.NetworkField(network, fg.paths.build("linear")), torch.randn(4, *shape), torch.tensor([0, 1, 2, 3])
    objective, words = (
        fg.objectives.build("cfm"),
        rf"float32, and it was given x of {word}: give it x.float\(\), or .*{call}",
    )
    if name == "energy" and dtype == torch.float16:
        assert field(x.to(dtype), 0.5, y).velocity.dtype == dtype
        return
    with pytest.raises(ValueError, match=words):
        field(x.to(dtype), 0.5, y)
    with pytest.raises(ValueError, match=words):
        objective(field, data=x.to(dtype), cond=y)
    with torch.autocast("cpu", torch.bfloat16):
        assert field(x, 0.5, y).velocity.isfinite().all()


@pytest.mark.parametrize(("dtype", "word"), [(torch.float64, "float64"), (torch.float16, "float16")])
@every_noisy_classifier
def test_a_posterior_is_given_numbers_of_its_networks_type(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, word: str
) -> None:
    posterior = fg.fields.NetworkPosterior(build(name, shape), fg.paths.build("linear"))
    x, y = torch.randn(3, *shape, dtype=dtype), torch.tensor([0, 1, 2])
    with pytest.raises(ValueError, match=f"parameters are float32, and it was given x of {word}"):
        posterior(x, 0.5)
    with pytest.raises(ValueError, match=f"parameters are float32, and it was given x of {word}"):
        fg.objectives.build("noisy_classifier")(posterior, data=x, cond=y)


@every_case
def test_conditions_are_tensors(name: str, shape: tuple[int, ...]) -> None:
    for cond in (1, [0, 1]):
        with pytest.raises(
            ValueError, match=rf"takes labels as a tensor with a row per sample, not {re.escape(str(cond))}"
        ):
            build(name, shape)(torch.zeros(2, *shape), torch.tensor(0.5), cond)


@pytest.mark.parametrize("name", ["mlp", "mlp_classifier"])
def test_perceptrons_take_a_batch(name: str) -> None:
    network = build(name, (2,))
    with pytest.raises(ValueError, match=rf"this {name} takes samples of shape \(B, \*\), a batch of them, not \(2,\)"):
        network(torch.zeros(2), torch.tensor(0.5))
    with pytest.raises(ValueError, match=rf"this {name} takes samples of 2 entries, not of shape \(3,\)"):
        network(torch.zeros(4, 3), torch.tensor(0.5))
