"""The section on training: the loss and all else that was logged, what was watched, and the checkpoints."""

from flowguide.training import checkpoint

from .curves import line, points
from .html import Html, figure, folded, join, table, tag
from .page import picture
from .quality import title_of
from .run import Run, Series

_TITLES = {"loss": "loss", "gradient_norm": "gradient norm", "learning_rate": "learning rate"}
_PICTURES = 6


def training(run: Run) -> list[Html | None]:
    """All of it."""
    log, _ = run.log
    curves = [panel(name, series) for name, series in ordered(log) if len(series.steps) > 1]
    curves += watched(run)
    note = "Faint: the values that were logged, averaged where they are many; line: their running mean."
    return [
        tag("div", *curves, klass="panels") if curves else None,
        tag("p", note, klass="note") if log and curves else None,
        tag("p", "No curves were logged.") if not curves else None,
        pictures(run),
        checkpoints(run),
    ]


def ordered(log: dict[str, Series]) -> list[tuple[str, Series]]:
    """The curves, the loss first; those of a watch are drawn of its own file."""
    names = [*(name for name in _TITLES if name in log), *(name for name in log if name not in _TITLES)]
    return [(name, log[name]) for name in names if not name.startswith("watch/")]


def panel(name: str, series: Series) -> Html:
    """A curve of the log."""
    title, values = _TITLES.get(name, name.replace("_", " ").replace("/", ", ")), series.values
    identity = "log-" + "".join(letter if letter.isalnum() else "-" for letter in name)
    svg = line(identity, f"{title} against the step", series.steps, values, title, noisy=name != "learning_rate")
    return figure(svg, tag("b", title[:1].upper() + title[1:]))


def watched(run: Run) -> list[Html]:
    """What was measured while it trained."""
    rows = sorted(run.watched.items())
    if len(rows) < 2:
        return []
    steps, found = [step for step, _ in rows], []
    for name in rows[0][1]:
        values = [row.get(name, float("nan")) for _, row in rows]
        title = title_of(name)
        svg = points(f"watch-{name}", f"{title} against the step", steps, values, ("step", title))
        found.append(figure(svg, join([tag("b", title), " while it trained"])))
    return found


def pictures(run: Run) -> Html | None:
    """Samples while it trained, from one noise: the first picture, the last, and some between."""
    files = run.pictures("watch")
    if not files:
        return None
    count = min(_PICTURES, len(files))
    chosen = [files[round(i * (len(files) - 1) / max(1, count - 1))] for i in range(count)]
    shown = []
    for file in chosen:
        step = int(file.stem.removeprefix("step-")) if file.stem.removeprefix("step-").isdigit() else file.stem
        alt = f"samples of step {step}, drawn from the same noise as those of the other steps"
        shown.append(figure(picture(file, alt, pixels=True), f"Samples of step {step}"))
    return tag("div", *shown, klass="panels")


def checkpoints(run: Run) -> Html | None:
    """The files, with the step that each is of."""
    rows = []
    for file in run.checkpoints:
        try:
            meta = checkpoint.read_meta(file)
        except ValueError:
            rows.append([file.name, "cannot be read", "–"])
            continue
        files = file.rglob("*") if file.is_dir() else [file]
        size = sum(each.stat().st_size for each in files if each.is_file())
        rows.append([file.name, meta.get("step", "–"), f"{size / 2**20:.1f} MiB"])
    snapshots = len(list((run.home / "averages").glob("step-*.safetensors")))
    if not rows:
        return None
    note = tag("p", f"{snapshots} snapshots of averages lie beside them.") if snapshots else None
    return folded("Checkpoints", table(["file", "step", "size"], rows), note)
