"""The section on quality against the guidance weight: the tables of 'flowguide evaluate' and of quality_vs_w.py."""

from collections.abc import Mapping
from typing import Any

from flowguide import metrics
from flowguide.evaluation import REAL, label_of_weight

from .curves import points
from .html import Html, figure, join, prose, table, tag
from .run import Run, read_json

Table = Mapping[str, Any]
_CAPTION = "Line: mean over seeds; band: one standard deviation to each side; dashed: real held-out data; star: best."


def tables(run: Run) -> dict[str, Table]:
    """What was measured, by the file that it is read from; one that says what another has said is left out."""
    found: dict[str, Table] = {}
    for file in dict.fromkeys((run.out / "quality.json", run.home / "evaluation" / "quality.json")):
        content = read_json(file)
        if content and content.get("summary") and all(content["rows"] != each["rows"] for each in found.values()):
            found[f"{file.parent.name}/{file.name}"] = content
    return found


def measured(content: Table) -> list[str]:
    """The metrics of a table."""
    first = content["summary"][0]
    return [name.removesuffix("_std") for name in first if name.endswith("_std") and name[:-4] in first]


def title_of(name: str) -> str:
    """A metric in words."""
    return metrics.registry.get(name).title if name in metrics.names() else name.replace("_", " ")


def best_of(content: Table, name: str) -> Mapping[str, Any] | None:
    """The row with the best value of a metric; None if it is not known which way is better."""
    rows = [row for row in content["summary"] if row["rule"] != REAL and row[name] is not None]
    if name not in metrics.names() or not rows:
        return None
    sign = {"lower": 1, "higher": -1}[metrics.registry.get(name).better]
    return min(rows, key=lambda row: sign * row[name])


def real_of(content: Table) -> Mapping[str, Any]:
    """The row of the real held-out data; empty if there is none."""
    return next((row for row in content["summary"] if row["rule"] == REAL), {})


def quality(run: Run) -> list[Html]:
    """Of each table the curves, and the numbers."""
    parts = []
    for number, (name, content) in enumerate(tables(run).items()):
        curves = [panel(content, metric, f"quality{number}") for metric in measured(content)]
        shown = [each for each in curves if each is not None]
        if shown:
            parts.append(tag("div", *shown, klass="panels"))
            parts.append(tag("p", _CAPTION, klass="note"))
        parts.append(numbers(content, name))
    return parts or kept(run)


def panel(content: Table, name: str, prefix: str) -> Html | None:
    """A metric against numbers of w; None if there are fewer than two."""
    rows = [row for row in content["summary"] if row["rule"] != REAL and isinstance(row["w"], (int, float))]
    rows.sort(key=lambda row: row["w"])
    if len({row["w"] for row in rows}) < 2:
        return None
    best, title, real = best_of({"summary": rows}, name), title_of(name), real_of(content)
    caption = tag("b", title)
    if best:
        caption = join([caption, f", best at w = {best['w']:g}: {best[name]:.4g}"])
    svg = points(
        f"{prefix}-{name}",
        f"{title} against the guidance weight",
        [row["w"] for row in rows],
        [row[name] for row in rows],
        ("guidance weight w", title),
        spread=[row[f"{name}_std"] for row in rows],
        level=real.get(name),
        best=rows.index(best) if best else None,
    )
    return figure(svg, caption)


def numbers(content: Table, file: str) -> Html:
    """The summary as a table, the best of each metric in bold, with what the numbers are."""
    names = measured(content)
    best = {name: best_of(content, name) for name in names}
    rows = []
    for row in content["summary"]:
        label = REAL if row["rule"] == REAL else f"{row['rule']}, w = {label_of_weight(row['w'])}"
        cells = []
        for name in names:
            spread = f" ± {row[f'{name}_std']:.2g}" if row.get("seeds", 1) > 1 else ""
            said = "–" if row[name] is None else f"{row[name]:.4g}{spread}"
            cells.append(tag("b" if row is best[name] else "span", said))
        spent = row.get("evaluations")
        rows.append([label, *cells, f"{spent:g}" if spent else "–"])
    return table(["", *map(title_of, names), "evaluations"], rows, caption_of(content, file))


def caption_of(content: Table, file: str) -> Html:
    """What the numbers are: whose features, of how many samples, against what."""
    seeds = max(row.get("seeds", 1) for row in content["summary"])
    words = [
        f"{content.get('num')} samples for each of {seeds} seeds" if seeds > 1 else f"{content.get('num')} samples"
    ]
    words.append(f" against the {content.get('reference')} ({content.get('reference_num')} samples). ")
    words.append(f"Features: {content.get('features')}; resizing: {content.get('resize')}. ")
    words.append(f"Solver: {content.get('solver')}; evaluations are of networks, per sample. From `{file}`.")
    return prose("".join(words))


def kept(run: Run) -> list[Html]:
    """The points of an evaluation that has no table yet."""
    found = list((run.json("evaluation/points.json") or {}).values())
    names = [name for name in dict.fromkeys(key for each in found for key in each) if name in metrics.names()]
    if not names:
        return []
    rows = []
    for each in found:
        label = f"{each['rule']}, w = {label_of_weight(each['w'])}, seed {each['seed']}"
        values = ["–" if each.get(name) is None else f"{each[name]:.4g}" for name in names]
        rows.append([label, each["solver"], *values])
    features = "; ".join(dict.fromkeys(each["features"] for each in found))
    caption = prose(f"Points of evaluations that have no table yet. Features: {features}.")
    return [table(["", "solver", *map(title_of, names)], rows, caption)]
