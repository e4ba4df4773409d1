"""Write one HTML page of a run: what was trained and how, its curves, samples and quality over w, and diagnostics.

    python analysis/report.py runs/digits
    python analysis/report.py runs/digits make=false
    python analysis/report.py runs/digits figures.images.samples.repeats=5 figures.images.conservativeness=null

The page is one file that holds all that it shows and asks for nothing else. It gathers what lies in the run's folder:
configuration, environment, log, watched samples, tables of 'flowguide evaluate', and every figure of RUN/analysis. What
is missing of samples, quality and conservativeness is measured and drawn first, with few samples, by the scripts of
those names; make=false leaves that. Settings: recipes/analysis/report.yaml. Writes report.html, and report.json with
the seconds that the scripts took, into RUN/analysis.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reporting import figures, setup
from reporting.html import Html, join, section, tag
from reporting.missing import call, missing
from reporting.page import document
from reporting.quality import quality
from reporting.run import Run, read_json
from reporting.training import training as curves

import flowguide
from flowguide import training
from flowguide.cli import script
from flowguide.options import check_options


@dataclass(frozen=True)
class Config:
    """What recipes/analysis/report.yaml may say, resolved."""

    run: str
    home: str
    out: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    make: bool = True
    device: str = "auto"
    ema: bool | float = True
    imports: Sequence[str] = ()


def report(settings: dict[str, Any], folder: Path) -> Path:
    """Draw what is missing, gather, and write the page; its file."""
    config = Config(**check_options("the script", Config, (), settings))
    run = Run(Path(config.run), Path(config.home), folder)
    if config.make:
        make(run, config)
    file = folder / "report.html"
    write(file, page(run))
    print(f"report: {file} ({file.stat().st_size / 2**20:.1f} MiB)")
    return file


def make(run: Run, config: Config) -> None:
    """Call the scripts whose figures are missing, and note how long each took."""
    if run.newest is None:
        return
    model = training.load(config.run, config.ema, config.device)
    common = {"out": str(run.out), "device": config.device, "ema": config.ema, "imports": list(config.imports)}
    for name, chosen in missing(model, config.figures, run.out).items():
        print(name, flush=True)
        began = time.monotonic()
        try:
            call(name, config.run, {**common, **chosen})
        except ValueError as error:
            raise ValueError(f"{name} could not be drawn: {error}; make=false gathers what there is") from None
        spent = {**(read_json(run.out / "report.json") or {}), name: time.monotonic() - began}
        write(run.out / "report.json", json.dumps(spent, indent=1) + "\n")


def page(run: Run) -> str:
    """The page, as text."""
    parts = [
        section("training", "Training", *curves(run)),
        section("samples", "Samples", *figures.named(run, figures.SAMPLES), *figures.drawn_samples(run)),
        section("quality", "Quality and guidance", *quality(run), *figures.named(run, figures.QUALITY)),
        section("diagnostics", "Diagnostics", *figures.named(run, figures.DIAGNOSTICS)),
        section("figures", "Other figures", *figures.others(run)),
        section("configuration", "Configuration", *setup.configuration(run)),
        section("environment", "Environment", *setup.environment(run)),
        section("times", "Times", *setup.times(run, read_json(run.out / "report.json") or {})),
    ]
    footer = join(["Written by ", tag("code", "analysis/report.py"), f" of flowguide {flowguide.__version__}."])
    found: list[Html] = [part for part in parts if part is not None]
    return document(f"{run.name} · flowguide", setup.head(run), found, footer)


def write(file: Path, text: str) -> None:
    """At once: a process that is stopped leaves the old file or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, file)


if __name__ == "__main__":
    script(report, "analysis/report", example="python analysis/report.py runs/digits")
