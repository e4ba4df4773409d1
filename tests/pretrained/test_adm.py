"""Published ADM files: their forward pass to the last digits, their architecture from their shapes, and refusals."""

from pathlib import Path

import published_adm
import pytest
import torch
from published_adm import Facts, State
from torch import Tensor

import flowguide as fg

# The published architectures at small width, and others of that code.
NETWORKS = {
    "64x64": Facts(32, (1, 2, 3, 4), 1, (1, 2, 3), head_width=16, order="new", classes=7),
    "unconditional": Facts(32, (1, 1, 2), 2, (1, 2), head_width=16),
    "half width first": Facts(64, (0.5, 1, 1), 1, (2,), head_width=32, classes=5),
    "upsampler": Facts(32, (1, 2), 2, (1,), heads=4, classes=7, inputs=6),
    "convolutions, additive": Facts(32, (1, 2), 1, (1,), heads=1, outputs=3, updown=False, scale_shift=False),
}
CLASSIFIERS = {
    pool: Facts(32, (1, 1, 2), 2, (1, 2), head_width=16, classes=6, pool=pool, size=16)
    for pool in ("attention", "adaptive", "spatial", "spatial_v2")
}
EVERY = {**NETWORKS, **CLASSIFIERS}


def write(folder: Path, state: State, name: str = "model.pt") -> Path:
    torch.save(state, folder / name)
    return folder / name


def given(facts: Facts) -> dict:
    """What must be said of a file, since its shapes are those of no published model."""
    heads = {"heads": facts.heads} if facts.heads else {"head_width": facts.head_width}
    return {**heads, "attention_order": facts.order, "size": [facts.size, facts.size]}


@torch.no_grad()
def ours_and_theirs(file: Path, state: State, facts: Facts) -> tuple[Tensor, Tensor]:
    """The output of the network within the imported model, and that of the independent statement."""
    model = fg.load_pretrained(file, format="adm", device="cpu", **given(facts))
    g = torch.Generator().manual_seed(1)
    x, steps = torch.randn(3, 3, facts.size, facts.size, generator=g), torch.tensor([0.0, 417.25, 999.0])
    if facts.pool:
        return model.network(x, steps), published_adm.forward(state, facts, x, steps)
    y = torch.arange(3) + 1 if facts.classes else None
    cond, beside = y, x
    if facts.inputs > 3:
        image = torch.randn(3, 3, facts.size // 4, facts.size // 4, generator=g)
        cond, beside = model.network.join(image, y), published_adm.with_image(x, image)
    return model.network(x, steps, cond), published_adm.forward(state, facts, beside, steps, y)[:, :3]


@pytest.mark.parametrize("name", EVERY)
def test_the_forward_pass_is_the_published_one(name: str, tmp_path: Path) -> None:
    facts = EVERY[name]
    state = published_adm.random_state(facts)
    ours, theirs = ours_and_theirs(write(tmp_path, state), state, facts)
    assert theirs.abs().mean() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["64x64", "upsampler", "attention"])
def test_safetensors_hold_the_same(name: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = published_adm.random_state(EVERY[name])
    save_file(state, tmp_path / "model.safetensors")
    found = fg.pretrained.read(tmp_path / "model.safetensors", "adm", **given(EVERY[name]))
    expected = fg.pretrained.read(write(tmp_path, state), "adm", **given(EVERY[name]))
    assert all(torch.equal(found.tensors[key], value) for key, value in expected.tensors.items())


# The shapes of the published files themselves: every number of them, on no device.
PUBLISHED = {
    "64x64_diffusion": Facts(192, (1, 2, 3, 4), 3, (1, 2, 3), classes=1000),
    "128x128_diffusion": Facts(256, (1, 1, 2, 3, 4), 2, (2, 3, 4), classes=1000),
    "256x256_diffusion": Facts(256, (1, 1, 2, 2, 4, 4), 2, (3, 4, 5), classes=1000),
    "256x256_diffusion_uncond": Facts(256, (1, 1, 2, 2, 4, 4), 2, (3, 4, 5)),
    "512x512_diffusion": Facts(256, (0.5, 1, 1, 2, 2, 4, 4), 2, (4, 5, 6), classes=1000),
    "64_256_upsampler": Facts(192, (1, 1, 2, 2, 4, 4), 2, (3, 4, 5), classes=1000, inputs=6),
    "128_512_upsampler": Facts(192, (1, 1, 2, 2, 4, 4), 2, (4, 5), classes=1000, inputs=6),
    "64x64_classifier": Facts(128, (1, 2, 3, 4), 4, (1, 2, 3), classes=1000, pool="attention", size=64),
    "128x128_classifier": Facts(128, (1, 1, 2, 3, 4), 2, (2, 3, 4), classes=1000, pool="attention", size=128),
    "256x256_classifier": Facts(128, (1, 1, 2, 2, 4, 4), 2, (3, 4, 5), classes=1000, pool="attention", size=256),
    "512x512_classifier": Facts(128, (0.5, 1, 1, 2, 2, 4, 4), 2, (4, 5, 6), classes=1000, pool="attention", size=512),
}
# In millions, where the paper says (appendix I), and heads at the lowest level, by the published flags.
MILLIONS = {"64x64_diffusion": 296, "128x128_diffusion": 422, "256x256_diffusion": 554, "512x512_diffusion": 559}
HEADS = {"64x64_diffusion": 12, "128x128_diffusion": 4, "64_256_upsampler": 4, "128_512_upsampler": 12}
HEADS |= {"256x256_diffusion": 16, "64x64_classifier": 8}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_are_known_by_their_shapes(name: str) -> None:
    state = published_adm.random_state(PUBLISHED[name], device="meta")
    imported = fg.pretrained.build("adm", state)
    size = fg.pretrained.adm_published.MODELS[name].size
    assert imported.shape == (3, size, size)
    assert imported.path == {"name": "ddpm", "schedule": "cosine" if size == 64 else "linear"}
    assert imported.network["attention_order"] == ("new" if name == "64x64_diffusion" else "legacy")
    numbers = sum(tensor.numel() for tensor in imported.tensors.values())
    assert numbers == sum(tensor.numel() for tensor in state.values())
    assert round(numbers / 1e6) == MILLIONS.get(name, round(numbers / 1e6))
    with torch.device("meta"):
        network = fg.networks.registry.build_from(imported.network)
    assert network.middle[0].attention.heads == HEADS.get(name, network.middle[0].attention.heads)


def load(tmp_path: Path, name: str, **more) -> fg.NetworkField:
    facts = EVERY[name]
    file = write(tmp_path, published_adm.random_state(facts), f"{name}.pt")
    return fg.load_pretrained(file, format="adm", device="cpu", **given(facts), **more)


def test_a_field_is_told_timesteps_on_the_published_path(tmp_path: Path) -> None:
    field = load(tmp_path, "unconditional", schedule="cosine")
    assert field.path == fg.paths.build("ddpm", schedule="cosine")
    x, n = torch.randn(2, 3, 16, 16), torch.tensor([12.0, 700.0])
    noise = field(x, field.path.time_of_timestep(n)).noise
    torch.testing.assert_close(noise, field.network(x, n), rtol=1e-3, atol=1e-3)
    samples = fg.sample(field, (2, *field.shape), solver=fg.solvers.build("ddim", steps=3))
    assert samples.isfinite().all()
    with pytest.raises(ValueError, match="this field takes no conditions"):
        fg.sample(field, (1, 3, 16, 16), torch.tensor([1]), solver=fg.solvers.build("ddim", steps=3))


def test_conditional_models_take_labels_and_no_null(tmp_path: Path) -> None:
    field = load(tmp_path, "64x64")
    assert field.null(2) is None
    assert field.num_classes == 7
    solver = fg.solvers.build("ddim", steps=2)
    assert fg.sample(field, (2, 3, 16, 16), torch.tensor([0, 6]), solver).isfinite().all()
    for cond, words in (
        (None, "takes conditions and has no null one, so it predicts nothing without one"),
        (torch.tensor([7]), "label 7 is not one of the 7 classes 0 to 6; the nearest is 6$"),
    ):
        with pytest.raises(ValueError, match=words):
            fg.sample(field, (1, 3, 16, 16), cond, solver)
    with pytest.raises(ValueError, match=r"label 7 is not one of the 7 classes 0 to 6; the nearest is 6$"):
        field(torch.zeros(1, 3, 16, 16), 0.5, torch.tensor([7]))
    with pytest.raises(ValueError, match=r"cfg needs a field with a null condition.*classifier with base=conditional"):
        fg.guidance.build("cfg", field, w=2.0)
    with pytest.raises(ValueError, match="this field has none"):
        fg.guidance.build("multi", field, labels=[1])
    with pytest.raises(ValueError, match="no label can be dropped"):
        field.drop(torch.tensor([1]), torch.tensor([True]))


def test_the_published_classifier_guides_the_published_field(tmp_path: Path) -> None:
    field, classifier = load(tmp_path, "64x64"), load(tmp_path, "attention")
    classifier.num_classes = classifier.network.num_classes = field.num_classes = 6
    with pytest.raises(ValueError, match=r"base=.conditional."):
        fg.guidance.build("classifier", field, classifier)
    rule = fg.guidance.build("classifier", field, classifier, w=2.0, base="conditional")
    x, y, n = torch.randn(2, 3, 16, 16), torch.tensor([1, 4]), torch.tensor(300.0)
    t = field.path.time_of_timestep(n)
    # As published: noise - w sigma grad log p(y | x), with the classifier shown x and the timestep.
    state = x.clone().requires_grad_()
    log_prob = classifier.network(state, n.expand(2)).log_softmax(1)[torch.arange(2), y].sum()
    expected = field.network(x, n, y) - 2 * field.path.sigma(t) * torch.autograd.grad(log_prob, state)[0]
    torch.testing.assert_close(rule(x, t, y).noise, expected, rtol=1e-3, atol=1e-3)
    assert fg.sample(rule, (2, 3, 16, 16), y, fg.solvers.build("ddim", steps=2)).isfinite().all()
    with pytest.raises(ValueError, match="pass cond"):
        fg.sample(rule, (1, 3, 16, 16), None, fg.solvers.build("ddim", steps=2))


def test_an_upsampler_takes_its_image_with_the_label(tmp_path: Path) -> None:
    field = load(tmp_path, "upsampler")
    cond = field.network.join(torch.randn(3, 3, 4, 4), torch.tensor([0, 3, 6]))
    options = {"solver": fg.solvers.build("ddim", steps=2), "seed": 1}
    together = fg.sample(field, (3, 3, 16, 16), cond, **options)
    in_two = fg.sample(field, (3, 3, 16, 16), cond, batch_size=2, **options)
    torch.testing.assert_close(in_two, together, rtol=1e-2, atol=1e-2)  # noise over alpha, at the first step, is large
    assert not torch.allclose(fg.sample(field, (3, 3, 16, 16), cond.flip(0), **options), together)
    with pytest.raises(ValueError, match="pass cond"):
        fg.sample(field, (3, 3, 16, 16), **options)


def without(name: str) -> dict:
    state = published_adm.random_state(NETWORKS["unconditional"])
    del state[name]
    return state


def also(**more: Tensor) -> dict:
    return {**published_adm.random_state(NETWORKS["unconditional"]), **more}


@pytest.mark.parametrize(
    ("state", "options", "words"),
    [
        (without("middle_block.1.qkv.bias"), {}, "middle_block.1.qkv.bias is missing"),
        (
            without("output_blocks.2.0.skip_connection.weight"),
            {},
            "output_blocks.2.0.skip_connection.weight is missing",
        ),
        (without("time_embed.0.weight"), {}, "time_embed.0.weight is missing, which every file of this kind has"),
        (also(**{"input_blocks.1.0.extra": torch.zeros(1)}), {}, "input_blocks.1.0.extra is in the file"),
        (also(**{"out.0.weight": torch.zeros(7)}), {}, r"out.0.weight has the shape \(7,\), and this .* needs \(32,\)"),
        (also(), {"head_width": None}, "no published ADM model.*say heads=..., head_width=... or like=..."),
        (also(), {"head_width": 24}, "head_width 24 does not divide the 32 channels of level 1; the nearest is"),
        (also(), {"heads": 4}, "heads=4 and head_width=16 say the same thing"),
        (also(), {"like": "256x256_difusion"}, "did you mean '256x256_diffusion'"),
        (also(), {"size": [16]}, r"size is \[height, width\], not \[16\]"),
        (also(), {"channels": 4}, "it takes 3 channels and gives 6, and images of 4 channels need"),
        (also(), {"hed_width": 4}, "did you mean 'head_width'"),
        (also(step=3), {}, "holds more than tensors by name: 'step' is a int"),
    ],
)
def test_what_is_wrong_is_named(state: dict, options: dict, words: str, tmp_path: Path) -> None:
    facts = given(NETWORKS["unconditional"])
    with pytest.raises(ValueError, match=words) as caught:
        fg.load_pretrained(write(tmp_path, state), format="adm", **{**facts, **options})
    assert "\n" not in str(caught.value)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    torch.save({"weight": Harm()}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"holds more than tensors.*nothing of it was run"):
        fg.load_pretrained(tmp_path / "model.pt", format="adm")
    assert not (tmp_path / "harm").exists()
    (tmp_path / "cut.pt").write_bytes(write(tmp_path, also()).read_bytes()[:5000])
    (tmp_path / "cut.safetensors").write_bytes(b"\x00" * 30)
    for name, words in (
        ("cut.pt", "truncated or none|nothing of it"),
        ("cut.safetensors", "truncated"),
        ("no.pt", "no file"),
    ):
        with pytest.raises(ValueError, match=words):
            fg.load_pretrained(tmp_path / name, format="adm")
    with pytest.raises(ValueError, match="there is no device 'cuda:99' here"):
        fg.load_pretrained(write(tmp_path, also()), format="adm", device="cuda:99")
    with pytest.raises(ValueError, match="unknown format of published models 'adn'; did you mean 'adm'"):
        fg.load_pretrained(tmp_path / "model.pt", format="adn")


@pytest.mark.parametrize(("blocks", "levels"), [(1, 4), (2, 3), (3, 3)])
def test_a_classifier_s_levels_are_told_by_its_shapes(blocks: int, levels: int) -> None:
    facts = Facts(32, (1, 2, 3, 4)[:levels], blocks, (levels - 1,), head_width=16, classes=2, pool="adaptive")
    told = fg.pretrained.adm_shapes.network_options(published_adm.random_state(facts, device="meta"))
    assert told["blocks"] == [blocks] * levels
    assert told["multipliers"] == [1, 2, 3, 4][:levels]


def test_a_pool_by_attention_needs_the_width_of_heads() -> None:
    state = published_adm.random_state(CLASSIFIERS["attention"], device="meta")
    with pytest.raises(ValueError, match=r"say head_width=... and not heads=..."):
        fg.pretrained.build("adm", state, heads=4)


def test_like_a_published_model(tmp_path: Path) -> None:
    facts = Facts(64, (1, 2), 1, (1,), head_width=64, order="new", classes=3)
    state = published_adm.random_state(facts)
    field = fg.load_pretrained(write(tmp_path, state), format="adm", like="64x64_diffusion", device="cpu")
    assert field.shape == (3, 64, 64)
    assert field.path == fg.paths.build("ddpm", schedule="cosine")
    x, n, y = torch.randn(1, 3, 8, 8), torch.tensor([4.0]), torch.tensor([2])
    torch.testing.assert_close(
        field.network(x, n, y), published_adm.forward(state, facts, x, n, y)[:, :3], atol=1e-5, rtol=1e-5
    )
