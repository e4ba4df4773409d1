"""Curves as SVG inside a page: they are sharp at every size, and their black is the page's colour of text."""

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from flowguide import drawing

from .html import Html, text

_SIZE = (3.6, 2.5)  # inches
_MOST = 400  # points of a line


def line(name: str, alt: str, steps: Sequence[float], values: Sequence[float], title: str, noisy: bool) -> Html:
    """A curve over the steps of a run.

    Args:
        name: Of the picture in its page, for ids that are of no other.
        alt: What it shows, for those who do not see it.
        steps, values: The points.
        title: Of the values.
        noisy: Draw the running mean of the values, and them faintly; their axis is logarithmic if they span much.
    """
    from matplotlib.ticker import LogLocator

    x, y = binned(steps, values)

    def draw(ax: Any) -> None:
        if noisy:
            ax.plot(x, y, color=drawing.SKY, linewidth=0.6, alpha=0.7)
        ax.plot(x, running_mean(y) if noisy else y, color=drawing.BLUE, linewidth=1.4)
        if noisy and min(y) > 0 and max(y) > 8 * sorted(y)[len(y) // 2]:
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_formatter("")
        ax.set(xlabel="step", ylabel=title)

    return drawn(draw, name, alt)


def points(
    name: str,
    alt: str,
    x: Sequence[float],
    y: Sequence[float],
    labels: tuple[str, str],
    spread: Sequence[float] | None = None,
    level: float | None = None,
    best: int | None = None,
) -> Html:
    """What was measured at some places.

    Args:
        name, alt: As of :func:`line`.
        x, y: The points.
        labels: Of the two axes.
        spread: What the band has to each side.
        level: Where a dashed line is.
        best: The point that has a star.
    """

    def draw(ax: Any) -> None:
        drawing.band(ax, x, y, spread or [0.0] * len(x), color=drawing.BLUE, clip_on=False)
        if level is not None:
            ax.axhline(level, color=drawing.BLACK, linestyle="--", linewidth=0.8)
        if best is not None:
            ax.plot(x[best], y[best], "*", color=drawing.RED, markersize=10, clip_on=False, zorder=3)
        ax.set(xlabel=labels[0], ylabel=labels[1])

    return drawn(draw, name, alt)


def drawn(draw: Callable[[Any], None], name: str, alt: str) -> Html:
    """A panel of one size, as SVG."""
    drawing.use_style()
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=_SIZE, layout="constrained")
    draw(ax)
    ax.grid(True, linewidth=0.3, alpha=0.5)
    svg = as_svg(figure, name, alt)
    plt.close(figure)
    return svg


def as_svg(figure: Any, name: str, alt: str) -> Html:
    """A figure of matplotlib as an element of a page, its text still text."""
    import matplotlib

    stream, nothing = io.StringIO(), dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    whole = stream.getvalue()
    box = re.search(r'viewBox="([^"]+)"', whole)[1]
    inner = whole[whole.index(">", whole.index("<svg")) + 1 : whole.rindex("</svg>")]
    for pattern, instead in (
        (r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", ""),
        (r'\bid="', f'id="{name}-'),  # an id is of one element of the whole page
        (r'xlink:href="#', f'href="#{name}-'),
        (r"url\(#", f"url(#{name}-"),
        (r"#000000", "currentColor"),
        (drawing.BLUE.lower(), "var(--accent)"),  # which is lighter on a dark page
        (r"font-family: [^;\"]*;? ?", ""),  # the page's own
        (r"\s+", " "),
    ):
        inner = re.sub(pattern, instead, inner, flags=re.DOTALL)
    return Html(f'<svg role="img" aria-label="{text(alt)}" viewBox="{box}">{inner.strip()}</svg>')


def binned(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """At most some hundred points, each the mean of as many."""
    size = math.ceil(len(x) / _MOST)
    cuts = range(0, len(x), max(size, 1))
    return tuple([math.fsum(each[i : i + size]) / len(each[i : i + size]) for i in cuts] for each in (x, y))


def running_mean(y: Sequence[float]) -> list[float]:
    """The mean over the twenty-fifth part of all points around each."""
    reach = max(1, len(y) // 50)
    windows = (y[max(0, i - reach) : i + reach + 1] for i in range(len(y)))
    return [math.fsum(window) / len(window) for window in windows]
