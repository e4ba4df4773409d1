"""The parts of a report: elements that escape, curves that share no ids, logs of several sessions."""

import re
import time
from pathlib import Path

import conservativeness
import pytest
from PIL import Image
from reporting import curves
from reporting.html import Html, prose, table, tag
from reporting.page import picture
from reporting.run import Run, read_log, told_by


def test_a_log_of_two_sessions(tmp_path: Path) -> None:
    """What the second says of steps that the first had logged is what holds."""
    from torch.utils.tensorboard import SummaryWriter

    for values in ({10: 1.0, 20: 2.0, 30: 3.0}, {20: 5.0, 30: 6.0, 40: 7.0}):
        with SummaryWriter(str(tmp_path)) as writer:
            for index, (step, value) in enumerate(values.items()):
                writer.add_scalar("loss", value, step, walltime=100.0 + 5 * index)
        time.sleep(1.1)  # the name of a file has the second that it was opened in
    log, seconds = read_log(tmp_path)
    assert (log["loss"].steps, log["loss"].values) == ([10, 20, 30, 40], [1.0, 5.0, 6.0, 7.0])
    assert seconds == [10.0, 10.0]


def test_elements_escape_what_is_not_theirs() -> None:
    assert tag("p", "a < b", tag("b", "&"), klass='"x"', aria_label="l") == (
        '<p class="&quot;x&quot;" aria-label="l">a &lt; b<b>&amp;</b></p>'
    )
    assert tag("p", None, title=None) == "<p></p>"
    assert prose("of ``a<b`` and `c`") == "of <code>a&lt;b</code> and <code>c</code>"
    assert '<th scope="row">&lt;i&gt;</th><td>1</td>' in table(["", "n"], [["<i>", 1]])
    assert isinstance(prose(""), Html)


def test_curves_of_one_page_share_no_ids() -> None:
    """Two drawings of the same points, which matplotlib gives the same ids."""
    drawn = [curves.line(name, "a < b", range(1000), [1.0 + i % 7 for i in range(1000)], "y", True) for name in "ab"]
    ids = [set(re.findall(r'\bid="([^"]+)"', each)) for each in drawn]
    assert not ids[0] & ids[1]
    assert all("http" not in each and 'aria-label="a &lt; b"' in each for each in drawn)
    assert len(drawn[0]) < 40_000
    x, _ = curves.binned(range(1000), range(1000))
    assert len(x) <= 400
    assert sum(x) / len(x) == pytest.approx(499.5, abs=2)
    assert curves.running_mean([2.0] * 60) == [2.0] * 60


def test_captions_are_the_words_of_the_scripts() -> None:
    what, how = told_by("conservativeness")
    assert what.startswith("How far a guided prediction is from being a gradient")
    assert "python" not in what + how
    assert "Settings:" not in how
    assert told_by("no_such_script") == ("", "")
    assert conservativeness.__doc__.startswith("Draw how far")


def test_pictures_know_their_size(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "x.png")
    shown = picture(tmp_path / "x.png", 'the "x"', pixels=True)
    assert 'width="30" height="20"' in shown
    assert 'alt="the &quot;x&quot;"' in shown
    assert Run(tmp_path, tmp_path, tmp_path).figures["x"] == tmp_path / "x.png"
