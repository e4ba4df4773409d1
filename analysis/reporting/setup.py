"""The head of the page, and the sections on how the run was made: configuration, environment, times."""

from collections.abc import Mapping
from typing import Any

from .html import Html, folded, join, pairs, table, tag
from .quality import best_of, measured, real_of, tables, title_of
from .run import Run, read_json


def head(run: Run) -> Html:
    """Name, one line on what was trained, and the figures that matter most."""
    return join([tag("p", "flowguide: report of a run", klass="kicker"), tag("h1", run.name),
                 tag("p", summary(run), klass="lede"), pairs(key_figures(run), klass="key")])  # fmt: skip


def summary(run: Run) -> str:
    """What was trained, in a sentence."""
    settings = run.settings
    network, data, path, objective = (_name(settings, group) for group in ("network", "data", "path", "objective"))
    words = f"{network or 'A network'}"
    words += f" of {run.parameters:,} parameters" if run.parameters else ""
    words += ", trained" if objective or data else ""
    words += f" by {objective}" if objective else ""
    words += f" on {data}" if data else ""
    words += f", along the {path} path" if path else ""
    words += f", to predict the {settings['predicts']}" if _is_generative(settings) else ""
    return f"{words}."


def _name(settings: Mapping[str, Any], group: str) -> str | None:
    node = settings.get(group)
    return node.get("name") if isinstance(node, Mapping) else None


def _is_generative(settings: Mapping[str, Any]) -> bool:
    classifies = "classif" in (_name(settings, "objective") or "")
    return bool(settings.get("path") and settings.get("predicts")) and not classifies


def key_figures(run: Run) -> list[tuple[str, Any]]:
    """The numbers that are looked for first."""
    found: list[tuple[str, Any]] = []
    asked = (run.settings.get("training") or {}).get("steps")
    if run.meta:
        step = run.meta.get("step")
        found.append(("steps", f"{step:,}" if step == asked or not asked else f"{step:,} of {asked:,}"))
    log, seconds = run.log
    if seconds:
        found.append(("training", duration(sum(seconds))))
    if "loss" in log:
        last = log["loss"].values[-max(1, len(log["loss"].values) // 25) :]
        found.append(("last loss", f"{sum(last) / len(last):.4g}"))
    for content in list(tables(run).values())[:1]:
        for name in measured(content):
            best = best_of(content, name)
            if best is not None:
                at = f" at w = {best['w']:g}" if isinstance(best["w"], (int, float)) else ""
                real = f"; real data {real_of(content)[name]:.3g}" if name in real_of(content) else ""
                value = join([tag("strong", f"{best[name]:.3g}"), tag("small", f"{at}{real}")])
                found.append((title_of(name), value))
    accuracy = read_json(run.out / "classifier_accuracy.json")
    if accuracy:
        found.append(("accuracy at t = 1", f"{accuracy['rows'][-1]['accuracy']:.3g}"))
    return found


def configuration(run: Run) -> list[Html]:
    """The configuration as it stands."""
    if not run.settings:
        return []
    lines = run.configuration.rstrip()
    title = f"{'config.yaml' if (run.home / 'config.yaml').is_file() else 'Of the checkpoint'}, {_count(lines)} lines"
    return [folded(title, tag("pre", tag("code", lines), tabindex="0"))]


def _count(text: str) -> int:
    return text.count("\n") + 1


def environment(run: Run) -> list[Html]:
    """Versions, machine and command."""
    known = dict(run.environment)
    if not known:
        return []
    packages = known.pop("packages", None) or {}
    words = known.pop("command", None) or []
    command = " ".join(str(word) for word in words if not str(word).startswith("hydra"))
    rows = [(name, ", ".join(map(str, value)) if isinstance(value, list) else value) for name, value in known.items()]
    versions = ", ".join(f"{name} {'(absent)' if version is None else version}" for name, version in packages.items())
    rows = [("command", tag("code", command))] * bool(command) + rows + [("packages", versions)] * bool(versions)
    return [pairs(rows, klass="facts")]


def times(run: Run, made: Mapping[str, float]) -> list[Html]:
    """How long things took, where it is known.

    Args:
        run: The run.
        made: Seconds that scripts took which the report has called.
    """
    log, seconds = run.log
    rows: list[list[Any]] = []
    if seconds:
        steps = log["loss"].steps if "loss" in log else []
        sessions = f" in {len(seconds)} sessions" if len(seconds) > 1 else ""
        rows.append([f"training{sessions}, first to last step that was logged", duration(sum(seconds))])
        if len(seconds) == 1 and len(steps) > 1 and seconds[0] > 0:
            rate = (steps[-1] - steps[0]) / seconds[0]
            size = (run.settings.get("training") or {}).get("batch_size")
            each = f", {rate * size:,.0f} samples/s" if isinstance(size, int) else ""
            rows.append(["rate, looks and checkpoints included", f"{rate:.3g} steps/s{each}"])
    rows += [[join([tag("code", f"analysis/{name}.py"), ", when this report called it"]), duration(spent)]
             for name, spent in made.items()]  # fmt: skip
    return [table(["what", "time"], rows)] if rows else []


def duration(seconds: float) -> str:
    """A time in words."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
