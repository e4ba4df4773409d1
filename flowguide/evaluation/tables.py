"""Rows of measurements as a summary over seeds, as text, CSV and JSON."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from .. import metrics
from .kept import Row


def summarise(rows: Sequence[Row], names: Iterable[str]) -> list[Row]:
    """Mean and standard deviation over seeds, one row per w (None: the real data), as ``name`` and ``name_std``."""
    summary = []
    for w in dict.fromkeys(row["w"] for row in rows):
        group = [row for row in rows if row["w"] == w]
        line: Row = {"w": w, "seeds": len(group)}
        for name in names:
            values = torch.tensor([row[name] for row in group], dtype=torch.float64)
            line[name] = float(values.mean())
            line[f"{name}_std"] = float(values.std()) if len(values) > 1 else 0.0
        summary.append(line)
    return summary


def write_tables(rows: list[dict[str, Any]], names: Sequence[str], folder: Path) -> str:
    """Write all rows as CSV, rows and summary as JSON; the summary as text."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "quality.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "w": "real" if row["w"] is None else row["w"]} for row in rows)
    summary = summarise(rows, names)
    about = {"features": rows[0]["features"], "num": rows[0]["num"], "reference": rows[0]["reference"]}
    (folder / "quality.json").write_text(json.dumps({**about, "summary": summary, "rows": rows}, indent=1) + "\n")
    return as_text(summary, names, about)


def as_text(summary: list[dict[str, Any]], names: Sequence[str], about: dict[str, Any]) -> str:
    """The summary as a table, with what the numbers are."""
    titles = {name: metrics.registry.get(name).title for name in names}
    width = max(18, *(len(title) + 2 for title in titles.values()))
    lines = [f"{'w':>10}" + "".join(f"{title:>{width}}" for title in titles.values())]
    for row in summary:
        spread = row["seeds"] > 1
        cells = [f"{row[name]:.4g}" + (f" ± {row[f'{name}_std']:.2g}" if spread else "") for name in names]
        lines.append(
            f"{'real data' if row['w'] is None else format(row['w'], 'g'):>10}"
            + "".join(f"{c:>{width}}" for c in cells)
        )
    return "\n".join(
        [
            *lines,
            f"features: {about['features']}; this is not Inception FID or IS.",
            f"{about['num']} samples per seed against the {about['reference']}; 'real data' is the held-out part.",
        ]
    )
