"""HTML as text that cannot be broken by what it quotes: everything is escaped that was not made here.

>>> str(tag("p", "a < b, ", tag("b", "c"), klass="note"))
'<p class="note">a &lt; b, <b>c</b></p>'
"""

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

_VOID = ("img", "meta")


class Html(str):
    """Text that is HTML already."""


def text(value: Any) -> Html:
    """A value as HTML: escaped, unless it is HTML."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def join(parts: Iterable[Any], between: str = "") -> Html:
    """The parts after one another; those that are None are left out."""
    return Html(between.join(text(part) for part in parts if part is not None))


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """An element.

    Args:
        name: Of the element.
        children: What is in it; None is nothing.
        attributes: ``klass`` is the class; an underscore is a hyphen; one that is None is left out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            words.append(f'{ {"klass": "class"}.get(key, key.replace("_", "-")) }="{escape(str(value))}"')
    opening = f"<{' '.join(words)}>"
    return Html(opening if name in _VOID else f"{opening}{join(children)}</{name}>")


def prose(words: str) -> Html:
    """A sentence in which ``double`` or `single` backticks stand around code."""
    parts = re.split(r"`+([^`]+)`+", words)
    return join(tag("code", part) if index % 2 else part for index, part in enumerate(parts))


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], caption: Any = None) -> Html:
    """A table whose first column names the rows; it scrolls by itself where it is wider than the page.

    Args:
        head: What the columns are.
        rows: Of each row its name and its cells.
        caption: What the numbers are; it stays in sight when the table is scrolled.
    """
    top = tag("tr", *(tag("th", each, scope="col") for each in head))
    body = [tag("tr", tag("th", first, scope="row"), *(tag("td", each) for each in rest)) for first, *rest in rows]
    whole = tag("table", tag("thead", top), tag("tbody", *body))
    scrolled = tag("div", whole, klass="scroll", tabindex="0", role="group", aria_label="table")
    return scrolled if caption is None else tag("figure", scrolled, tag("figcaption", caption))


def pairs(rows: Iterable[tuple[Any, Any]], klass: str | None = None) -> Html:
    """Names and what they are."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in rows), klass=klass)


def figure(content: Any, caption: Any, klass: str | None = None) -> Html:
    """A picture, on a plate, with what it is."""
    return tag("figure", tag("div", content, klass="plate"), tag("figcaption", caption), klass=klass)


def folded(title: Any, *children: Any) -> Html:
    """What is shown when it is asked for."""
    return tag("details", tag("summary", title), *children)


def section(name: str, title: str, *children: Any) -> Html | None:
    """A section with its heading; None if there is nothing in it."""
    given = [child for child in children if child is not None]
    return tag("section", tag("h2", title, id=name), *given, aria_labelledby=name) if given else None
