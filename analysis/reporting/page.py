"""The document: one file that holds its style, its pictures and its curves, and asks for nothing else."""

import base64
import re
from collections.abc import Sequence
from pathlib import Path

from .html import Html, join, tag

_STYLE = Path(__file__).with_name("style.css")


def document(title: str, header: Html, sections: Sequence[Html], footer: Html) -> str:
    """The whole page.

    Args:
        title: Of the window.
        header: What stands above all sections.
        sections: As :func:`reporting.html.section` makes them, of which the contents are a list.
        footer: What stands below.
    """
    found = [re.search(r'<h2 id="([^"]+)">(.*?)</h2>', each) for each in sections]
    links = [tag("li", tag("a", Html(each[2]), href=f"#{each[1]}")) for each in found if each]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(_STYLE.read_text())),
    )
    contents = tag("nav", tag("ol", *links), aria_label="Contents") if links else None
    body = tag("body", tag("header", header), contents, tag("main", join(sections, "\n")), tag("footer", footer))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def picture(file: Path, alt: str, pixels: bool = False) -> Html:
    """A PNG inside the page.

    Args:
        file: The picture.
        alt: What it shows, for those who do not see it.
        pixels: Keep the edges of its pixels sharp where it is enlarged.
    """
    width, height = _size(content := file.read_bytes())
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    shown = ["pixels"] * pixels + ["wide"] * (width > 2.2 * height and width > 900)
    return tag("img", src=source, alt=alt, width=width, height=height, klass=" ".join(shown) or None)


def _size(content: bytes) -> tuple[int, int]:
    """Width and height of a PNG, from its header."""
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("it is no PNG")
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
