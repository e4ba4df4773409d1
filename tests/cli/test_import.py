"""``flowguide import``: a published file becomes a run that every command takes."""

from pathlib import Path

import published_adm
import published_diffusers_unet
import published_dit
import published_edm
import pytest
import torch
from command_line import Run
from published_adm import Facts
from safetensors.torch import load_file

import flowguide as fg

FACTS = Facts(32, (1, 2), 1, (1,), head_width=16, classes=3, size=8)
CLASSIFIER = Facts(32, (1, 2), 1, (1,), head_width=16, classes=3, size=8, pool="attention")


@pytest.fixture
def files(run: Run) -> Run:
    """The same, with files in the current folder."""
    torch.save(published_adm.random_state(FACTS), "model.pt")
    torch.save(published_adm.random_state(CLASSIFIER), "classifier.pt")
    return run


def test_a_published_model_is_sampled_as_a_run(files: Run) -> None:
    words = ["format=adm", "head_width=16", "size=[8, 8]"]
    ended = files("import", "model.pt", *words, "out=runs/model")
    assert ended.code == 0, ended
    assert "flowguide sample runs/model '~guidance'" in ended.out
    assert files("import", "classifier.pt", "format=adm", "head_width=16", "out=runs/classifier").code == 0

    field, same = fg.load("runs/model", device="cpu"), fg.pretrained.read("model.pt", "adm", head_width=16, size=[8, 8])
    x, y = torch.randn(3, 3, 8, 8), torch.arange(3)
    torch.testing.assert_close(field(x, 0.6, y).noise, same.build()(x, 0.6, y).noise, rtol=1e-4, atol=1e-4)
    classifier = fg.load("runs/classifier", device="cpu")
    expected = fg.load_pretrained("classifier.pt", format="adm", head_width=16, device="cpu")
    torch.testing.assert_close(classifier(x, 0.6), expected(x, 0.6), rtol=1e-4, atol=1e-4)
    assert classifier.shown == "state"

    few = ["num=3", "solver=ddim", "solver.steps=2", "device=cpu"]
    assert files("sample", "runs/model", "~guidance", *few).code == 0
    guided = ["guidance=classifier", "guidance.base=conditional", "guidance.classifier=runs/classifier"]
    assert files("sample", "runs/model", *guided, *few).code == 0
    assert "was trained without" in files("sample", "runs/model", *few).sentence


def test_published_models_make_a_cascade(files: Run) -> None:
    upsampler = Facts(32, (1, 2), 1, (1,), heads=2, classes=3, inputs=6, size=16)
    torch.save(published_adm.random_state(upsampler), "upsampler.pt")
    assert files("import", "model.pt", "format=adm", "head_width=16", "size=[8, 8]", "out=runs/base").code == 0
    words = ["upsampler.pt", "format=adm", "heads=2", "size=[16, 16]"]
    ended = files("import", *words, "factor=2", "out=runs/upsampler")
    assert "flowguide sample cascade=[BASE,runs/upsampler] '~guidance'" in ended.out
    few = ["~guidance", "num=3", "solver=ddim", "solver.steps=2", "device=cpu"]
    ended = files("sample", "cascade=[runs/base,runs/upsampler]", *few)
    assert "3 samples, 2 + 2 evaluations" in ended.out
    (file,) = Path("runs/upsampler/samples").glob("cascade_unguided_ddim2_seed0_*.safetensors")
    made = load_file(file)
    assert (made["stage_1"].shape, made["data"].shape) == ((3, 3, 8, 8), (3, 3, 16, 16))
    assert "has none of its own where it was not trained" in files("sample", "runs/upsampler", *few).sentence
    assert files("import", *words, "out=runs/four").code == 0
    chained = files("sample", "cascade=[runs/base,runs/four]", *few).sentence
    assert "runs/base makes images of 3x8x8, and runs/four is shown those of 3x4x4" in chained


@pytest.mark.parametrize("format", ["dit", "sit", "diffusers_dit"])
def test_a_published_transformer_is_sampled_as_a_run(run: Run, format: str) -> None:
    facts = published_dit.Facts()
    if format == "diffusers_dit":
        published_dit.write_folder(Path("model"), *published_dit.random_folder(facts))
        file, options = "model", {}
    else:
        torch.save(published_dit.random_file(facts), "model.pt")
        file, options = "model.pt", {"heads": 3}
    words = [f"{name}={value}" for name, value in options.items()]
    ended = run("import", file, f"format={format}", *words, "out=runs/model")
    assert ended.code == 0, ended
    field, same = fg.load("runs/model", device="cpu"), fg.load_pretrained(file, format, device="cpu", **options)
    assert (field.path, field.predicts) == (same.path, same.predicts)
    x, t, y = torch.randn(3, 4, 6, 6), torch.tensor([0.1, 0.6, 0.9]), torch.tensor([0, 4, 5])
    torch.testing.assert_close(field(x, t, y).velocity, same(x, t, y).velocity, rtol=1e-4, atol=1e-4)
    ended = run("sample", "runs/model", "guidance.w=2", "num=2", "solver.steps=3", "device=cpu")
    assert ended.code == 0, ended
    (written,) = Path("runs/model/samples").iterdir()  # latents, of which there is no picture
    assert written.name in ended.out
    assert load_file(written)["data"].shape == (2, 4, 6, 6)


def test_what_the_network_predicts_and_is_told_goes_with_it(run: Run) -> None:
    facts = published_edm.Facts(False, 16, (1, 2), 1, (4,), classes=3)
    state = published_edm.random_state(facts)
    published_edm.write_pickle(Path("model.pkl"), state, {"sigma_data": 0.7, "label_dropout": 0.1})
    assert run("import", "model.pkl", "format=edm", "sigma_max=40", "out=runs/edm").code == 0
    field, expected = fg.load("runs/edm", device="cpu"), fg.load_pretrained("model.pkl", format="edm", device="cpu")
    x, y = torch.randn(3, 3, 8, 8), torch.arange(3)
    assert (field.sigma_data, field.path.sigma_max) == (0.7, 40.0)
    sigma = field.path.sigma(torch.tensor(0.4, dtype=torch.float64))
    there = expected.path.time_at(-sigma.log()).float()
    for cond in (y, None):
        torch.testing.assert_close(field(x, 0.4, cond).data, expected(x, there, cond).data, rtol=1e-4, atol=1e-4)
    assert run("sample", "runs/edm", "num=3", "solver=edm_heun", "solver.steps=2", "device=cpu").code == 0


def test_a_folder_is_imported_as_a_file_is(run: Run) -> None:
    config = published_diffusers_unet.ADM
    state = published_diffusers_unet.random_state(config)
    folder = str(published_diffusers_unet.write(Path("unet"), config, state))
    assert run("import", folder, "format=diffusers_unet", "null_label=true", "out=runs/unet").code == 0
    field = fg.load("runs/unet", device="cpu")
    expected = fg.load_pretrained(folder, format="diffusers_unet", null_label=True, device="cpu")
    x = torch.randn(2, *field.shape)
    for cond in (torch.tensor([0, 4]), None):
        torch.testing.assert_close(field(x, 0.6, cond).noise, expected(x, 0.6, cond).noise, rtol=1e-4, atol=1e-4)
    assert "must be one of" in run("import", folder, "format=diffusers_unet", "predicts=x", "out=runs/x").sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "which file? Name one"),
        (["model.pt", "classifier.pt"], "which file? Name one"),
        (["model.pt", "out=runs/x"], "format=... is missing"),
        (["model.pt", "format=adm"], "out=... is missing"),
        (["model.pt", "format=adn", "out=runs/x"], "did you mean 'adm'"),
        (["model.pt", "format=adm", "out=runs/x", "head_width=16"], "say size=[height, width]"),
        (
            ["model.pt", "format=adm", "out=runs/x", "size=[8, 8"],
            "size=[8, 8 cannot be read; write lists as size=[1, 2]",
        ),
        (["model.pt", "format=adm", "out=runs/x"], "of no published ADM model"),
        (["absent.pt", "format=adm", "out=runs/x"], "there is no file absent.pt"),
        (["model.pt", "format=adm", "out=runs/x", "hed_width=1"], "did you mean 'head_width'"),
    ],
)
def test_a_mistake_is_answered_in_a_sentence(files: Run, words: list[str], sentence: str) -> None:
    assert sentence in files("import", *words).sentence
    assert not Path("runs").exists()
