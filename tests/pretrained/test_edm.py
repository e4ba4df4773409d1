"""EDM's files: the denoiser to the last digits, read from pickles of which nothing is run, and refusals."""

import pickle
from pathlib import Path

import numpy as np
import published_edm
import pytest
import torch
from published_edm import Facts, State
from torch import Tensor

import flowguide as fg

NETWORKS = {
    "adm": Facts(True, 32, (1, 4), 1, (4,), classes=5, augmented=9),
    "adm, unconditional": Facts(True, 64, (1, 2), 1, (8, 4)),
    "ddpmpp": Facts(False, 16, (2, 1), 2, (4,), classes=4, augmented=9),
    "ddpmpp, unconditional": Facts(False, 16, (1, 2, 2), 1, (8, 4)),
}


def write(folder: Path, state: State, name: str = "model.pt") -> Path:
    torch.save(state, folder / name)
    return folder / name


@torch.no_grad()
def check(field: fg.NetworkField, state: State, facts: Facts, y: Tensor | None) -> None:
    """D(x; sigma) of the field is that of the independent statement, from the largest noise to the smallest."""
    x = torch.randn(3, facts.channels, facts.size, facts.size, generator=torch.Generator().manual_seed(1))
    for t in (torch.tensor(0.0), torch.tensor([0.1, 0.5, 0.9]), torch.tensor(1.0)):
        sigma = field.path.sigma(t)
        state_x = x * (0.5 + sigma.reshape(-1, 1, 1, 1))
        expected = published_edm.denoise(state, facts, state_x, sigma.expand(3), y)
        assert expected.abs().mean() > 0.1
        torch.testing.assert_close(field(state_x, t, y).data, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_denoiser_is_the_published_one(name: str, tmp_path: Path) -> None:
    facts = NETWORKS[name]
    state = published_edm.random_state(facts)
    field = fg.load_pretrained(write(tmp_path, state), format="edm", device="cpu")
    assert field.shape == (3, 8, 8)
    assert (field.path.sigma(torch.tensor([0.0, 1.0])) - torch.tensor([80, 0.002])).abs().max() < 1e-3
    check(field, state, facts, torch.arange(3) if facts.classes else None)
    assert field.needs_condition == (facts.classes > 0)


@pytest.mark.parametrize("name", ["adm", "ddpmpp"])
def test_a_pickle_tells_how_it_was_trained(name: str, tmp_path: Path) -> None:
    facts = NETWORKS[name]
    state = published_edm.random_state(facts)
    # NumPy's numbers are in the published ones.
    options = {"img_resolution": 8, "label_dropout": np.float64(0.1), "model_type": "SongUNet", "channel_mult": [1, 2]}
    file = published_edm.write_pickle(tmp_path / "model.pkl", state, options)
    field = fg.load_pretrained(file, format="edm", device="cpu")
    assert torch.equal(field.null(2), torch.full((2,), facts.classes))
    check(field, state, facts, None)
    check(field, state, facts, torch.arange(3))
    solver = fg.solvers.build("edm_heun", steps=2)
    guided = fg.guidance.build("cfg", field, w=2.0)
    assert fg.sample(guided, (2, *field.shape), torch.tensor([0, 3]), solver).isfinite().all()
    with pytest.raises(ValueError, match=f"label 9 is not one of the {facts.classes} classes"):
        fg.sample(guided, (1, *field.shape), torch.tensor([9]), solver)

    file = published_edm.write_pickle(tmp_path / "plain.pkl", state, {"sigma_data": 0.7})
    field = fg.load_pretrained(file, format="edm", device="cpu")
    assert field.sigma_data == 0.7
    assert field.null(2) is None
    with pytest.raises(ValueError, match="cfg needs a field with a null condition"):
        fg.guidance.build("cfg", field, w=2.0)
    told = fg.pretrained.read(file, "edm", sigma_data=0.6, null_label=True, sigma_max=40.0)
    assert (told.sigma_data, told.network["null_label"], told.path["sigma_max"]) == (0.6, True, 40.0)


def test_safetensors_hold_the_same(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = published_edm.random_state(NETWORKS["ddpmpp"])
    save_file(state, tmp_path / "model.safetensors")
    found = fg.pretrained.read(tmp_path / "model.safetensors", "edm")
    expected = fg.pretrained.read(write(tmp_path, state), "edm")
    assert all(torch.equal(found.tensors[key], value) for key, value in expected.tensors.items())


# The shapes of the published files themselves, and how many millions of numbers they are published with.
PUBLISHED = {
    "imagenet 64x64": (Facts(True, 192, (1, 2, 3, 4), 3, (32, 16, 8), size=64, classes=1000), 296),
    "cifar 10": (Facts(False, 128, (2, 2, 2), 4, (16,), size=32, classes=10, augmented=9), 56),
    "ffhq": (Facts(False, 128, (1, 2, 2, 2), 4, (16,), size=64, augmented=9), 62),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_are_known_by_their_shapes(name: str) -> None:
    facts, millions = PUBLISHED[name]
    imported = fg.pretrained.build("edm", published_edm.random_state(facts, device="meta"))
    assert imported.shape == (3, facts.size, facts.size)
    assert imported.network["name"] == ("unet" if facts.adm else "ddpmpp")
    assert round(sum(tensor.numel() for tensor in imported.tensors.values()) / 1e6) == millions


def changed(name: str | None = None, network: str = "ddpmpp", **more: Tensor) -> State:
    """A file without one tensor, and with others."""
    state = {**published_edm.random_state(NETWORKS[network]), **more}
    if name is not None:
        del state[name]
    return state


@pytest.mark.parametrize(
    ("state", "options", "words"),
    [
        (changed("model.dec.4x4_in0.qkv.bias"), {}, "model.dec.4x4_in0.qkv.bias is missing"),
        (changed("model.map_layer0.weight"), {}, "model.map_layer0.weight is missing, which every file of this kind"),
        (changed("model.map_label.bias"), {}, "model.map_label.bias should have the shape"),
        (changed("model.enc.4x4_down.skip.resample_filter"), {}, "skip.resample_filter is missing"),
        (changed(**{"model.extra": torch.zeros(1)}), {}, "model.extra is in the file, and this architecture has no"),
        (
            changed(**{"model.enc.8x8_block0.norm0.weight": torch.zeros(7)}),
            {},
            r"block0.norm0.weight has the shape \(7,\), and this .* needs \(16,\)",
        ),
        (
            changed(network="adm", **{"model.enc.4x4_block0.qkv.weight": torch.zeros(7, 128, 1, 1)}),
            {},
            r"qkv.weight has the shape \(7, 128, 1, 1\)",
        ),
        (changed(**{"model.map_noise.freqs": torch.zeros(8)}), {}, "it is a NCSN.., which has no network here"),
        (
            changed(**{"model.enc.4x4_aux_residual.weight": torch.zeros(8)}),
            {},
            "it is a NCSN.., which has no network here",
        ),
        (
            changed(**{"model.enc.4x4_down.conv0.resample_filter": torch.ones(1, 1, 4, 4) / 16}),
            {},
            "conv0.resample_filter is no mean of 2 x 2 pixels",
        ),
        (changed(**{"model.enc.3x3_conv.weight": torch.zeros(1)}), {}, "levels are of 8, 4, 3 pixels, and each should"),
        ({"weight": torch.zeros(1)}, {}, "model.enc.NxN_conv.weight is missing"),
        (changed(network="adm, unconditional"), {"null_label": True}, "for networks with labels, and this one has"),
        (changed(), {"sigma_min": -1.0}, "edm needs 0 < sigma_min < sigma_max"),
        (changed(), {"sigma_dat": 1.0}, "did you mean 'sigma_data'"),
        (changed(step=3), {}, "holds more than tensors by name: 'step' is a int"),
    ],
)
def test_what_is_wrong_is_named(state: dict, options: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        fg.load_pretrained(write(tmp_path, state), format="edm", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["VPPrecond", "iDDPMPrecond"])
def test_other_preconditionings_are_refused(name: str, tmp_path: Path) -> None:
    file = published_edm.write_pickle(tmp_path / "model.pkl", changed(), {}, class_name=name)
    with pytest.raises(ValueError, match=f"its network is a {name}, whose output means something else"):
        fg.load_pretrained(file, format="edm")


def test_what_a_network_was_constructed_with_is_checked(tmp_path: Path) -> None:
    for name, words in (
        ("sigma_data", "sigma_data='0.5', which is no number"),
        ("label_dropout", "label_dropout='0.5'"),
    ):
        file = published_edm.write_pickle(tmp_path / "model.pkl", changed(), {name: "0.5"})
        with pytest.raises(ValueError, match=words):
            fg.load_pretrained(file, format="edm")


class Call:
    """Pickled, a call of a function."""

    def __init__(self, function, *args) -> None:
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("where", ["beside", "in", "storage", "alone"])
def test_no_code_of_a_file_is_run(where: str, tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    call = Call(Path.touch, harm)
    file = tmp_path / "model.pkl"
    if where == "beside":
        published_edm.write_pickle(file, changed(), {}, harm=call)
    elif where == "in":
        published_edm.write_pickle(file, changed(), {"harm": call})
    elif where == "storage":
        inner = tmp_path / "storage"
        torch.save(call, inner, _use_new_zipfile_serialization=False)
        file.write_bytes(pickle.dumps({"ema": Call(torch.storage._load_from_bytes, inner.read_bytes())}))
    else:
        file.write_bytes(pickle.dumps(call))
    with pytest.raises(ValueError, match=r"nothing of it was run") as caught:
        fg.load_pretrained(file, format="edm")
    assert "\n" not in str(caught.value)
    assert not harm.exists()


def test_what_a_file_may_not_name_is_named(tmp_path: Path) -> None:
    import os

    file = tmp_path / "model.pkl"
    for function, words in (
        (eval, "it names builtins.eval, which is no part of a network"),
        (exec, "builtins.exec"),
        (getattr, "builtins.getattr"),
        (os.system, "posix.system|nt.system"),
        (torch.load, "torch.serialization.load"),
        (torch.hub.load, "torch.hub.load"),
    ):
        file.write_bytes(pickle.dumps({"ema": Call(function, "1")}))
        with pytest.raises(ValueError, match=words):
            fg.load_pretrained(file, format="edm")


def two_numbers() -> object:
    """Their storage, as tensors are pickled with it."""
    return torch.zeros(2).__reduce_ex__(2)[1][0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"cnumpy\ndtype\n(dVx\nVy\nsb.", "it changes a function"),
        (b"cdnnlib.util\nEasyDict\n(tR(dVx\nVy\nsb.", "gives attributes to a dictionary"),
        (b"ctorch.nn.modules.linear\nLinear\n(dVx\nVy\nsb.", "truncated or no pickle"),
        (b"ccollections\nOrderedDict\n(dVx\nVy\nsb.", "truncated or no pickle"),
        # A network that is its own layer: a module, kept as 1, whose state has it among its _modules.
        (
            b"ctorch.nn.modules.linear\nLinear\n(tRp1\n(dV_modules\n(dVx\ng1\nssb.",
            "holds a network that is a part of itself",
        ),
        (b"ctorch.nn.modules.linear\nLinear\n(tR(dV_parameters\n(dVx\nI1\nssb.", "x is a int, and no tensor"),
        (b"ctorch.nn.modules.linear\nLinear\n(tR(dV_modules\n(dVx\nI1\nssb.", "x is a int, and no layer"),
        (b"ctorch.nn.modules.linear\nLinear\n(tR(lb.", "the state of an object is a list"),
        (b"P1\n.", "refers to objects outside of it"),
        (pickle.dumps({"state": 1}), r"should hold a network, as its entry ema, and holds entries \['state'\]"),
        (pickle.dumps([1]), "should hold a network, as its entry ema, and holds a list"),
        (b"", "truncated or no pickle"),
        (pickle.dumps({"ema": 1})[:-3], "truncated or no pickle"),
        (pickle.dumps(np.array([1.0])), "it names numpy"),
        (pickle.dumps(np.dtype("O")), "numbers of the kind 'O8'"),
        (pickle.dumps(np.dtype(">f8")), "byte order '>'"),
        (pickle.dumps({"a": Call(torch._utils._rebuild_tensor_v2, 1, 0, (2,), (1,), False, {})}), "is no storage"),
        (
            pickle.dumps(
                Call(torch._utils._rebuild_tensor_v2, two_numbers(), 0, (9,), (1,), False, {}),
            ),
            r"a tensor of \(9,\) in a storage of 2 numbers",
        ),
        (pickle.dumps(Call(torch._utils._rebuild_parameter, 1, True, {})), "a parameter that is a int"),
        (pickle.dumps(Call(torch.storage._load_from_bytes, "x")), "a str where a storage should be"),
    ],
)
def test_pickles_of_other_things(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        fg.load_pretrained(tmp_path / "model.pkl", format="edm")
    assert "\n" not in str(caught.value)


def test_a_cut_pickle_and_none(tmp_path: Path) -> None:
    file = published_edm.write_pickle(tmp_path / "model.pkl", changed(), {})
    (tmp_path / "cut.pkl").write_bytes(file.read_bytes()[:5000])
    for name, words in (("cut.pkl", "truncated or no pickle"), ("no.pkl", "there is no file"), ("", "is a folder")):
        with pytest.raises(ValueError, match=words):
            fg.load_pretrained(tmp_path / name, format="edm")
