"""Rows of measurements as a summary over seeds, as text, CSV and JSON."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from .. import metrics
from .kept import Row

REAL = "real data"
UNGUIDED = "unguided"
EACH = "each its own"  # of a cascade whose stages all say their guidance


def summarise(rows: Sequence[Row], names: Iterable[str]) -> list[Row]:
    """Mean and standard deviation over seeds, as ``name`` and ``name_std``, one row per rule and w.

    What no row knows is None.
    """
    summary = []
    for rule, w in dict.fromkeys((row["rule"], row["w"]) for row in rows):
        group = [row for row in rows if (row["rule"], row["w"]) == (rule, w)]
        line: Row = {"rule": rule, "w": w, "seeds": len(group), "evaluations": group[0]["evaluations"]}
        for name in names:
            known = [row[name] for row in group if row[name] is not None]
            values = torch.tensor(known, dtype=torch.float64)
            line[name] = float(values.mean()) if known else None
            line[f"{name}_std"] = float(values.std()) if len(known) > 1 else 0.0
        summary.append(line)
    return summary


def label_of(node: Mapping[str, Any]) -> str:
    """A node in a word or two: its name, and what else it says; null says nothing."""
    said = [value for key, value in node.items() if key != "name" and value is not None]
    return " ".join([node["name"], *(str(value["name"] if isinstance(value, Mapping) else value) for value in said)])


def label_of_weight(w: float | str | None) -> str:
    """A weight as the rows have it: a number, the label of a schedule, or None for a rule without one."""
    return "-" if w is None else w if isinstance(w, str) else format(w, "g")


def write_tables(rows: list[Row], names: Sequence[str], folder: Path) -> str:
    """Write all rows as CSV, rows and summary as JSON; the summary as text."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "quality.csv", rows)
    summary = summarise(rows, names)
    names_of = ("cascade", "augmentation", "solver", "features", "resize", "num", "reference", "reference_num")
    about = {name: rows[0][name] for name in names_of if name in rows[0]}
    (folder / "quality.json").write_text(json.dumps({**about, "summary": summary, "rows": rows}, indent=1) + "\n")
    return as_text(summary, names, about)


def write_csv(file: Path, rows: Sequence[Row]) -> None:
    """Write rows, all of the columns of the first, as CSV."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def as_text(summary: list[Row], names: Sequence[str], about: Mapping[str, Any]) -> str:
    """The summary as a table, with what the numbers are."""
    titles = [metrics.registry.get(name).title for name in names]
    widths = [max(18, len(title) + 2) for title in titles]
    labels = [REAL if row["rule"] == REAL else label_of_weight(row["w"]) for row in summary]
    first = max(10, *(len(label) + 1 for label in labels))
    lines = [f"{'w':>{first}}" + "".join(f"{title:>{width}}" for title, width in zip(titles, widths, strict=True))]
    for row, label in zip(summary, labels, strict=True):
        spread = row["seeds"] > 1
        cells = [
            "-" if row[name] is None else f"{row[name]:.4g}" + (f" ± {row[f'{name}_std']:.2g}" if spread else "")
            for name in names
        ]
        lines.append(f"{label:>{first}}" + "".join(f"{c:>{width}}" for c, width in zip(cells, widths, strict=True)))
    if "cascade" in about:
        lines.append(f"cascade: {about['cascade']}, with noise of the level {about['augmentation']} between.")
    return "\n".join(
        [
            *lines,
            f"solver: {about['solver']}; features: {about['features']}; resizing: {about['resize']}.",
            f"{about['num']} samples per seed against the {about['reference']} ({about['reference_num']} samples); "
            f"'real data' is the held-out part.",
        ]
    )
