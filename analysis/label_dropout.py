"""Study what label dropout does: train at several probabilities, with one budget, and measure each against w.

    python analysis/label_dropout.py run=runs/label_dropout
    python analysis/label_dropout.py run=runs/dropout recipe=digits 'words=["training.steps=500"]' 'trained=[0]'

Each probability that a label is dropped is trained once for every seed of ``trained``, by 'flowguide train RECIPE
--multirun'; runs that are there, whoever made them, are not trained again. Then every run is evaluated at every w: a
line per probability is the mean over runs and seeds, the band one standard deviation. It ends with the finding: the
best weight of each probability, and how it compares with the first one. Settings: recipes/analysis/label_dropout.yaml.
Writes label_dropout.png, .pdf, .csv and .json into RUN/analysis. Source of the study: Ho & Salimans (2022), arXiv
2207.12598, section 4.1 (0.1 and 0.2 there are as good as each other, and 0.5 is worse everywhere).
"""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from quality_curves import Curve, lines, quality_curves

from flowguide.cli import script
from flowguide.evaluation import EvaluateConfig, Row
from flowguide.training import RunFolder


def label_dropout(settings: dict[str, Any], folder: Path) -> list[Row]:
    """Train what is missing, measure, write the tables, draw the figure; the rows that were measured."""
    recipe, words = settings.pop("recipe"), settings.pop("words")
    dropouts, trained = settings.pop("label_dropout"), settings.pop("trained")
    if not (isinstance(dropouts, list) and dropouts and all(0 < p < 1 for p in dropouts)):
        raise ValueError(f"label_dropout is a list of probabilities between 0 and 1, not {dropouts!r}")
    if not (isinstance(trained, list) and trained):
        raise ValueError(f"trained is a list of seeds, one run each, not {trained!r}")
    config = EvaluateConfig.of(settings)
    home = Path(config.run)
    wanted = [(p, seed) for p in dropouts for seed in trained]
    for seed in trained:
        if missing := [p for p in dropouts if (p, seed) not in finished(home)]:
            train(recipe, home, missing, seed, words)
    runs = finished(home)
    if missing := [f"{p:g} (seed {seed})" for p, seed in wanted if (p, seed) not in runs]:
        raise ValueError(f"{home} holds no finished run with label_dropout {', '.join(missing)}")
    curves = [
        Curve(
            f"{p:g}",
            replace(config, run=str(runs[p, seed]), home=str(runs[p, seed])),
            {"label_dropout": p, "trained": seed},
        )
        for p, seed in wanted
    ]
    return quality_curves(curves, settings, folder / "label_dropout", partial(lines, ordered=True))


def train(recipe: str, home: Path, dropouts: list[float], seed: int, words: list[str]) -> None:
    """A run of each probability; those that were begun go on."""
    points = [f"objective.label_dropout={','.join(map(str, dropouts))}", f"seed={seed}"]
    command = ["train", recipe, "--multirun", *points, f"run={home}", *words]
    print("flowguide", *command, flush=True)
    # In a process of its own: hydra runs this one.
    if subprocess.run([sys.executable, "-m", "flowguide", *command], check=False).returncode:
        raise ValueError("training stopped; the same command goes on from there")


def finished(home: Path) -> dict[tuple[float, int], Path]:
    """The runs in a folder that are trained to their end, by their label dropout and seed."""
    found = {}
    for file in sorted(home.glob("*/config.yaml")):
        run = RunFolder(file.parent)
        config, newest = run.config(), run.newest()
        if newest is not None and f"{config['training']['steps']:08d}" in newest.name:
            found[config["objective"].get("label_dropout"), config["seed"]] = file.parent
    return found


if __name__ == "__main__":
    script(label_dropout, "analysis/label_dropout")
