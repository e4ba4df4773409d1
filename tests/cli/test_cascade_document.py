"""docs/cascade.md: its recipes train, its commands run, and so does its Python."""

import re
import shlex
from pathlib import Path

import pytest
import stored_data
from command_line import Run

import flowguide

DOCUMENT = Path(flowguide.__file__).parent.parent / "docs" / "cascade.md"
TINY = [
    "training.steps=1",
    "training.batch_size=4",
    "training.precision=float32",
    "network.width=8",
    "network.head_width=8",
    "network.blocks=1",
    "device=cpu",
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


def commands(text: str) -> list[str]:
    return re.sub(r"(\\?)\n  ", " ", text).strip().splitlines()


@pytest.mark.slow
def test_what_it_says_of_captions_runs(run: Run) -> None:
    few = ["data.count=52", "data.test_count=26", "training.log=none"]
    (text,) = blocks("sh-captions")
    for command in commands(text):
        verb, *words = shlex.split(command)[1:]
        if verb == "train":
            encoder = "conditioner.encoder" if words == ["glyphs_text_cpu"] else "conditioner.beside.encoder"
            ended = run(verb, *words, *TINY, *few, f"{encoder}=words")
        else:
            ended = run(verb, *words, *(["--smoke"] if verb == "evaluate" else ["num=3", "solver.steps=2"]))
        assert ended.code == 0, ended


@pytest.mark.slow
def test_what_it_says_runs(run: Run) -> None:
    stored_data.write_images(Path("photos"), each=8, size=20)
    for name, text in zip(("base", "sr"), blocks("yaml"), strict=True):
        Path(f"{name}.yaml").write_text(text)
    trained, sampled, measured = (commands(text) for text in blocks("sh"))
    for command in trained:
        ended = run(*shlex.split(command)[1:], *TINY)
        assert ended.code == 0, ended
    for command in sampled:
        words = [word.replace("num=16", "num=3") for word in shlex.split(command)[1:]]
        ended = run(*words, "solver.steps=2", "device=cpu")
        assert "3 samples" in ended.out, ended
    for command in measured:
        ended = run(*shlex.split(command)[1:], "--smoke")
        assert "tables: runs/sr/evaluation" in ended.out, ended
    names: dict = {}
    (example,) = blocks("python")
    exec(example, names)
    assert (names["small"].shape, names["large"].shape) == ((4, 3, 16, 16), (4, 3, 64, 64))


def test_what_it_shows_exists() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", DOCUMENT.read_text()):
        assert (DOCUMENT.parent / link).exists(), link
