"""The report of a run: it asks for nothing, escapes what it quotes, and says what the run's files say."""

import json
import os
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import report
import torch
from drawn import SMALL
from PIL import Image
from reporting.run import Run
from tiny_runs import recipe

from flowguide import drawing, training
from flowguide.cli import main, script

JUDGE = ["classifier.training.steps=20", "classifier.network.width=4"]
FEW = {
    "samples": ["repeats=1", "guidance.w=[0,2]", "solver.steps=2"],
    "quality_vs_w": ["guidance.w=[0,1,3]", "seeds=[0,1]", "num=20", "solver.steps=2"],
    "conservativeness": ["guidance.w=[0,3]", "times=[0.3,0.7]", "num=4", "probes=1"],
}


class Page(HTMLParser):
    """A page's elements with their attributes, its text, and whether every one that was opened was closed."""

    VOID = ("img", "meta", "link", "br", "hr", "input")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        if name not in self.VOID:
            self._open.append(name)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name: str) -> None:
        assert self._open.pop() == name, (name, self._open)

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for each, attributes in self.elements if each == name]


def check(page: str) -> Page:
    """Everything that is promised of every page."""
    parsed = Page(page)
    names = {name for name, _ in parsed.elements}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "video", "audio"}
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for name, attributes in parsed.elements:
        assert not any(key.startswith("on") for key in attributes)
        for key in ("src", "href", "xlink:href", "srcset", "poster", "data"):
            if attributes.get(key) is not None:
                assert attributes[key].startswith("data:image/png;base64," if name == "img" else "#")
                assert name == "img" or attributes[key][1:] in ids, "a link leads somewhere"
        for value in attributes.values():
            for target in re.findall(r"url\((.*?)\)", value or ""):
                assert target[1:] in ids
    assert "@import" not in page
    assert "url(" not in page[: page.index("</style>")]
    assert all(image.get("alt") for image in parsed.all("img"))
    assert all(drawn.get("aria-label") and drawn["role"] == "img" for drawn in parsed.all("svg"))
    assert all(head.get("scope") in ("col", "row") for head in parsed.all("th"))
    headings = [int(name[1]) for name, _ in parsed.elements if re.fullmatch(r"h\d", name)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))
    assert parsed.all("html") == [{"lang": "en"}]
    assert any(meta.get("name") == "viewport" for meta in parsed.all("meta"))
    assert len(parsed.all("figure")) == len(parsed.all("figcaption"))
    return parsed


def written(run: Path, *words: str) -> Page:
    """The page of a run, written by the script."""
    script(report.report, "analysis/report", [str(run), *words], example="x")
    return check((run / "analysis" / "report.html").read_text())


def gathered(run: Path) -> Page:
    """The page of what a run's folder holds now."""
    return check(report.page(Run(run, run, run / "analysis")))


def few(kind: str, scripts: dict[str, list[str]]) -> list[str]:
    """Words of the script that make its figures in no time."""
    return [f"++figures.{kind}.{name}.{word}" for name, words in scripts.items() for word in words]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of images, with its report and the figures that were missing before it."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    words = [word.replace("steps=2", "steps=40") for word in SMALL]
    main(["train", "digits", *words, "watch=samples", "watch.every=20", "watch.solver.steps=2", f"run={folder}"])
    written(folder, *few("images", {**FEW, "quality_vs_w": FEW["quality_vs_w"] + JUDGE}))
    return folder


@pytest.mark.slow
def test_the_page_of_a_run_of_images(digits: Path) -> None:
    page = check((digits / "analysis" / "report.html").read_text())
    titles = ["Training", "Samples", "Quality and guidance", "Diagnostics", "Configuration", "Environment", "Times"]
    assert [href["href"] for href in page.all("a")] == [
        "#training", "#samples", "#quality", "#diagnostics", "#configuration", "#environment", "#times"
    ]  # fmt: skip
    assert all(title in page.text for title in titles)
    assert "trained by cfm on digits, along the linear path, to predict the velocity" in page.text
    count = sum(parameter.numel() for parameter in training.load(digits).parameters())
    assert f"unet of {count:,} parameters" in page.text
    assert "steps 40 " in page.text
    assert "Samples of step 20" in page.text
    assert "Samples of step 40" in page.text
    assert "learning_rate: 0.002" in page.text, "the configuration"
    assert json.loads((digits / "environment.json").read_text())["python"] in page.text
    assert set(json.loads((digits / "analysis" / "report.json").read_text())) == set(FEW)


def test_numbers_are_those_of_the_files(digits: Path) -> None:
    page = check((digits / "analysis" / "report.html").read_text())
    content = json.loads((digits / "analysis" / "quality.json").read_text())
    names = ("frechet_distance", "inception_score", "label_accuracy")
    for row in content["summary"]:
        label = "real data" if row["w"] is None else f"cfg, w = {row['w']:g}"
        spread = (lambda name, row=row: f" ± {row[f'{name}_std']:.2g}") if row["seeds"] > 1 else lambda name: ""
        cells = " ".join(f"{row[name]:.4g}{spread(name)}" for name in names)
        assert f"{label} {cells}" in page.text
    for known in (content["features"], f"20 samples for each of 2 seeds against the training data ({1438} samples)"):
        assert known in page.text
    for name, value in json.loads((digits / "analysis" / "conservativeness.json").read_text())["headline"].items():
        assert f"{name} {value:.4g}" in page.text


def test_the_star_is_at_the_best_weight(digits: Path) -> None:
    from reporting.quality import best_of

    summary = [{"rule": "cfg", "w": w, "frechet_distance": d, "label_accuracy": a, "novel": 0.0}
               for w, d, a in ((0, 3, 0.1), (1, 1, 0.5), (2, 2, 0.9))]  # fmt: skip
    real = {"rule": "real data", "w": None, "frechet_distance": 0.1, "label_accuracy": 1.0}
    content = {"summary": [*summary, real]}
    assert best_of(content, "frechet_distance")["w"] == 1
    assert best_of(content, "label_accuracy")["w"] == 2
    assert best_of(content, "novel") is None


def test_nothing_is_made_twice_or_when_it_is_not_wanted(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "call", lambda *_: pytest.fail("called again"))
    before = {file: file.stat().st_mtime_ns for file in (digits / "analysis").glob("*") if file.suffix != ".html"}
    written(digits)
    assert before == {file: file.stat().st_mtime_ns for file in before}
    (digits / "analysis" / "samples.png").rename(digits / "away.png")
    page = written(digits, "make=false")
    assert "Samples of step 40" in page.text
    assert "#samples" not in [link["href"] for link in page.all("a")]
    written(digits, "figures.images.samples=null")
    (digits / "away.png").rename(digits / "analysis" / "samples.png")


def test_figures_that_no_script_is_known_of_and_old_ones(digits: Path) -> None:
    other = digits / "analysis" / "of_my_own <b>.png"
    drawing.save_images(torch.zeros(2, 1, 8, 8), other, columns=2)
    other.with_suffix(".csv").write_text("a,b\n1.23456,<i>\n")
    newest = training.RunFolder(digits).newest()
    page = gathered(digits)
    assert "of my own <b>" in page.text
    assert "1.235 <i>" in page.text
    assert "before the newest checkpoint" not in page.text
    os.utime(other, (0, newest.stat().st_mtime - 10))
    assert gathered(digits).text.count("before the newest checkpoint") == 1
    other.write_bytes(b"no picture")
    assert "is no PNG" in gathered(digits).text
    other.unlink()


@pytest.mark.slow
def test_points(tmp_path: Path) -> None:
    run = tmp_path / "moons"
    words = ["network.width=16", "training.batch_size=64", "training.steps=60", "data.count=300", "device=cpu"]
    main(["train", "moons", *words, f"run={run}"])
    page = written(run, *few("points", FEW))
    assert "sliced Wasserstein" in page.text
    assert {file.stem for file in (run / "analysis").glob("*.png")} == set(FEW)
    assert Image.open(run / "analysis" / "samples.png").width > 900


def test_points_that_have_no_table_yet(digits: Path, tmp_path: Path) -> None:
    """Of several evaluations, told apart by rule, weight, seed and solver."""
    run = tmp_path / "run"
    shutil.copytree(digits, run)
    for solver in ("euler", "heun"):
        main(["evaluate", str(run), "guidance.w=[2]", "num=20", f"solver={{name: {solver}, steps: 2}}", *JUDGE])
    for file in run.glob("*/quality.*"):
        file.unlink()
    text = gathered(run).text
    assert "Points of evaluations that have no table yet" in text
    for solver in ("euler 2", "heun 2"):
        assert f"cfg, w = 2, seed 0 {solver} " in text


@pytest.mark.parametrize("name", ["digits_classifier", "digits_noisy_classifier"])
def test_classifiers(tmp_path: Path, name: str) -> None:
    run = tmp_path / name
    small = SMALL if "noisy" in name else [word for word in SMALL if "head" not in word]
    main(["train", name, *small, "training.steps=20", f"run={run}"])
    page = written(run, "figures.posteriors.classifier_accuracy={times: 3, draws: 1}")
    assert "to predict" not in page.text
    assert ("accuracy at t = 1" in page.text) == ("noisy" in name)


def test_a_run_with_nothing_but_a_checkpoint(tmp_path: Path) -> None:
    made = tmp_path / "made"
    training.train(recipe(training__log="none"), made, show=False)
    lone = tmp_path / "lone.safetensors"
    lone.write_bytes(training.RunFolder(made).newest().read_bytes())
    script(report.report, "analysis/report", [str(lone), "make=false", f"out={tmp_path / 'out'}"], example="x")
    page = check((tmp_path / "out" / "report.html").read_text())
    assert "mlp of " in page.text
    assert "No curves were logged" in page.text
    assert "steps 40" in page.text
    assert "name: moons" in page.text
    for name in ("environment.json", "logs"):
        (made / name).unlink() if (made / name).is_file() else None
    assert "No curves were logged" in gathered(made).text


def test_what_a_run_says_is_escaped(tmp_path: Path) -> None:
    run = tmp_path / "<script>alert(1)</script>&"
    settings = recipe(recipe='<script>alert("r")</script>')
    training.train({**settings, "run": str(run), "out": str(run)}, run, show=False)
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps({**environment, "devices": ["<img src=x onerror=alert(1)>"]}))
    page = written(run, "make=false")
    assert '<script>alert("r")</script>' in page.text
    assert "<img src=x onerror=alert(1)>" in page.text


def test_mistakes(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = [
        ([], "which run?"),
        ([str(tmp_path / "nowhere")], "nowhere does not exist"),
        ([str(digits), "+foo=1"], "unknown option of the script: 'foo'"),
        ([str(digits), "make=some"], "'make' of the script must be true or false"),
        ([str(digits), "+figures.images.inpainting.num=x"], "inpainting could not be drawn: option 'num'"),
        ([str(digits), "+figures.images.inpainting.foo=1"], "unknown setting 'foo'"),
        ([str(digits), "+figures.images.inpainting=3"], "must be settings of that script"),
        ([str(digits), "+figures.images.no_such={}"], "there is no script analysis/no_such.py"),
    ]
    for words, sentence in cases:
        with pytest.raises(SystemExit) as end:
            script(report.report, "analysis/report", words, example="x")
        said = capsys.readouterr().err
        assert end.value.code == 2
        assert sentence in said, said
        assert "Traceback" not in said


def test_a_file_that_is_no_json_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training.train(recipe(), tmp_path / "run", show=False)
    (tmp_path / "run" / "evaluation").mkdir()
    (tmp_path / "run" / "evaluation" / "quality.json").write_text("{")
    with pytest.raises(SystemExit):
        script(report.report, "analysis/report", [str(tmp_path / "run"), "make=false"], example="x")
    assert "quality.json cannot be read" in capsys.readouterr().err
