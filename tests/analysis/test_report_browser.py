"""The report in a real browser, where one is installed: nothing overflows, at the width of a phone and of a desk."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import report
import torch
from reporting.run import Run
from tiny_runs import recipe

from flowguide import drawing, training

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=5000"]

# A window cannot be as narrow as a phone, and a frame can. What is measured goes to the frame around it.
FRAME = """<!doctype html><body><iframe style="border:0;width:{width}px;height:800px" srcdoc="{page}"></iframe><script>
addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  for (const each of page.querySelectorAll("details")) each.open = true;
  const scrolls = each => each.closest(".scroll, .plate, pre") !== null;
  const wide = [...page.body.querySelectorAll("*")].filter(
    each => !scrolls(each) && each.getBoundingClientRect().right > root.clientWidth + 1);
  const found = {{
    width: root.clientWidth,
    content: root.scrollWidth,
    wide: wide.map(each => each.outerHTML.slice(0, 100)),
    images: [...page.images].map(each => each.complete && each.naturalWidth > 0),
    curves: [...page.querySelectorAll("svg")].map(each => each.getBoundingClientRect().width),
    sources: page.defaultView.performance.getEntriesByType("resource").map(each => each.name),
    body: parseFloat(getComputedStyle(page.querySelector("p")).fontSize),
  }};
  document.body.innerHTML = "<pre id=found></pre>";
  document.querySelector("pre").textContent = JSON.stringify(found);
}});
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report with wide tables, wide figures, long words and pictures."""
    folder = tmp_path_factory.mktemp("runs") / ("a_run_of_a_long_name_" * 6)
    training.train({**recipe(), "recipe": "long" * 60}, folder, show=False)
    row = {"rule": "cfg", "w": 0.0, "seeds": 3, "evaluations": 10.0}
    names = ("frechet_distance", "inception_score", "label_accuracy", "precision", "recall")
    summary = [{**row, "w": w, **dict.fromkeys(names, w + 1), **{f"{n}_std": 0.1 for n in names}} for w in (0.0, 1.0)]
    about = {"features": "f" * 200, "num": 10, "resize": "none", "reference": "training data", "reference_num": 5}
    (folder / "analysis").mkdir()
    (folder / "analysis" / "quality.json").write_text(json.dumps({**about, "summary": summary, "rows": []}))
    drawing.save_images(torch.zeros(40, 1, 32, 32), folder / "analysis" / "of_my_own.png", columns=40)
    drawing.save_images(torch.zeros(8, 1, 8, 8), folder / "watch" / "step-00000040.png", columns=4)
    return report.page(Run(folder, folder, folder / "analysis"))


@pytest.mark.skipif(BROWSER is None, reason="no chromium on the path")
@pytest.mark.parametrize("width", [360, 390, 1280])
def test_the_page_fits(page: str, tmp_path: Path, width: int) -> None:
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=width, page=html.escape(page)))
    size = f"--window-size={max(width, 500) + 50},900"
    command = [BROWSER, *FLAGS, size, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", frame.as_uri()]
    dumped = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', dumped, re.DOTALL)[1]))
    assert width - 20 <= found["width"] <= width
    assert found["content"] <= found["width"]
    assert found["wide"] == []
    assert len(found["images"]) == 2
    assert all(found["images"])
    assert len(found["curves"]) == 8
    assert all(200 < each < min(width, 640) for each in found["curves"])
    assert found["sources"] == []
    assert found["body"] >= 13
