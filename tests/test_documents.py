"""What the documents promise: the public face runs as it stands, and everything they name exists."""

import re
import runpy
import shutil
from pathlib import Path

import pytest
from command_line import TINY

import flowguide as fg
from flowguide.cli import main
from flowguide.cli.recipes import groups

ROOT = Path(fg.__file__).parent.parent
PAGES = sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *PAGES]


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def test_the_public_face_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["train", "moons", *TINY, "run=runs/digits"])  # stands in for the run that the last lines load
    (example,) = blocks("README.md", "python")
    (tmp_path / "example.py").write_text(example)
    names = runpy.run_path(str(tmp_path / "example.py"))
    assert names["samples"].shape == (512, 2)
    assert names["states"].shape == (21, 512, 2)
    assert names["logp"].shape == (512,)
    assert names["loss"].ndim == 0


def test_the_page_of_the_rules(tmp_path: Path) -> None:
    """Its example runs, and it names every rule, or the page beside it does."""
    (example,) = blocks("docs/guidance.md", "python")
    (tmp_path / "example.py").write_text(example)
    names = runpy.run_path(str(tmp_path / "example.py"))
    assert names["log_densities"].isfinite().all()
    for rule in ("tamed", "rising", "each"):
        assert fg.sample(names[rule], (512, 2), names["y"], seed=0).isfinite().all()
    table, _, _ = (ROOT / "docs/guidance.md").read_text().partition("## ")
    pages = table + (ROOT / "docs/inverse.md").read_text()
    assert not [name for name in fg.guidance.names() if f"| `{name}` |" not in pages]


@pytest.mark.parametrize("number", range(5))
def test_the_examples_of_contributing_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    example = blocks("CONTRIBUTING.md", "python")[number]
    assert len(example.splitlines()) <= 25
    (tmp_path / "example.py").write_text(example)
    for registry in groups().values():  # what the example registers is forgotten after it
        monkeypatch.setattr(registry, "_components", dict(registry._components))
    names = runpy.run_path(str(tmp_path / "example.py"))
    assert names["checked"], "each example ends with a check of itself"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_documents_name_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / document).parent.joinpath(target).exists(), target
    for target in re.findall(r"`((?:flowguide|recipes|analysis|tests)/[\w./]*)`", text):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(document: str) -> None:
    rules = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z-]+)\b`", (ROOT / document).read_text()):
        assert re.search(rf"^{target}:", rules, re.MULTILINE), target


def test_the_figures_of_the_readme_are_small() -> None:
    figures = list((ROOT / "docs" / "figures").glob("*.png"))
    assert len(figures) >= 3
    assert max(file.stat().st_size for file in figures) < 300_000


def test_git_is_all_that_a_clone_needs() -> None:
    assert shutil.which("git")
    for file in ("Makefile", "constraints.txt", "pyproject.toml", ".ci/run", "LICENSE"):
        assert (ROOT / file).is_file()
