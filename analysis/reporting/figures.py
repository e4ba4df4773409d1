"""The sections that show what the scripts of analysis/ have drawn, with their own words for what it is."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .html import Html, figure, folded, join, prose, table, tag
from .page import picture
from .run import Run, read_json, told_by

SAMPLES = ("samples", "inpainting")
QUALITY = (
    "quality_of_rules",
    "quality_of_solvers",
    "quality_of_steps",
    "quality_of_averages",
    "steps",
    "label_dropout",
    "truncation",
)
DIAGNOSTICS = (
    "conservativeness",
    "conservative_training",
    "vector_fields",
    "tilted_target",
    "trajectories",
    "classifier_accuracy",
)
_ROWS, _COLUMNS = 60, 12  # of a table that is shown


def named(run: Run, names: tuple[str, ...]) -> list[Html]:
    """The figures of these scripts that there are."""
    return [part for name in names if name in run.figures for part in shown(run, run.figures[name])]


def others(run: Run) -> list[Html]:
    """The figures of no other section."""
    elsewhere = {*SAMPLES, *QUALITY, *DIAGNOSTICS, "quality_vs_w"}
    return [part for name, file in run.figures.items() if name not in elsewhere for part in shown(run, file)]


def shown(run: Run, file: Path) -> list[Html]:
    """A figure with its caption, and its numbers if they are few."""
    what, how = told_by(file.stem)
    words = [tag("b", prose(what or file.stem.replace("_", " "))), " " if how else None, prose(how) if how else None]
    if run.is_older(file):
        words += [" ", tag("i", "It was drawn before the newest checkpoint was written.")]
    try:
        image = picture(file, what or f"the figure {file.name}")
    except ValueError:
        return [tag("p", prose(f"`{file.name}` is no PNG."))]
    parts = [figure(image, join(words), klass="large"), headline(file), numbers(file)]
    return [part for part in parts if part is not None]


def headline(file: Path) -> Html | None:
    """The few numbers that a script says are those of its figure."""
    content = read_json(file.with_suffix(".json"))
    found = content.get("headline") if isinstance(content, Mapping) else None
    if not isinstance(found, Mapping) or not found:
        return None
    return table(["", "value"], [[name, number(value)] for name, value in found.items()])


def numbers(file: Path) -> Html | None:
    """Its table, folded; of a long one, how long it is."""
    source = file.with_suffix(".csv")
    if not source.is_file():
        return None
    with source.open(newline="") as stream:
        head, *rows = list(csv.reader(stream)) or [[]]
    if not rows:
        return None
    if len(rows) > _ROWS or len(head) > _COLUMNS:
        return tag("p", prose(f"`{source.name}` has its {len(rows)} rows of {len(head)} columns."), klass="note")
    lines = ([number(cell) for cell in row] for row in rows)
    return folded(prose(f"Numbers of `{source.name}`"), table(head, lines))


def drawn_samples(run: Run) -> list[Html]:
    """What 'flowguide sample' has drawn."""
    files = run.pictures("samples")[:6]
    pictures = [
        figure(picture(file, f"samples: {_said(file)}", pixels=True), prose(f"`flowguide sample`: {_said(file)}"))
        for file in files
    ]
    return [tag("div", *pictures, klass="panels")] if pictures else []


def _said(file: Path) -> str:
    return file.stem.replace("_", ", ")


def number(cell: Any) -> str:
    """A cell with four digits, if it is a number that is not whole."""
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return str(cell)
    return str(cell) if value.is_integer() and "e" not in str(cell) else f"{value:.4g}"
