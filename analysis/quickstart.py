"""The main job from end to end: train on real digits, measure and sample across w, draw the figures.

    python analysis/quickstart.py
    python analysis/quickstart.py run=runs/again training.steps=3000

Words after the name are settings of 'flowguide train digits'. Run again, it goes on where it was stopped, and does
nothing twice. The closing table says what was reached; figures of merit are those of the README.
"""

import sys
import time
from itertools import pairwise
from pathlib import Path

import quality_vs_w
import samples
import trajectories

from flowguide.cli import main, script
from flowguide.evaluation import Row, summarise


def quickstart(words: list[str]) -> None:
    """Everything, one after the other."""
    began = time.time()
    if any(word in ("-h", "--help") for word in words):
        print(__doc__)
        return
    run = next((word.partition("=")[2] for word in words if word.startswith("run=")), "runs/digits")
    rows: list[Row] = []
    main(["train", "digits", f"run={run}", *(word for word in words if not word.startswith("run="))])
    script(lambda settings, folder: rows.extend(quality_vs_w.quality_vs_w(settings, folder)), "analysis/quality_vs_w",
           [run], example="quickstart")  # fmt: skip
    script(samples.samples, "analysis/samples", [run], example="quickstart")
    script(trajectories.trajectories, "analysis/trajectories", [])
    print(closing(rows))
    print(f"\nIn {time.time() - began:.0f} s. Everything lies in {run}: checkpoints, logs (TensorBoard), evaluation")
    print(f"(points), analysis (figures and tables: {', '.join(file.name for file in figures(run))});")
    print("and runs/trajectories holds the toy's figure. Next: flowguide sample", run, "guidance.w=2")


def figures(run: str) -> list[Path]:
    """The pictures of a run."""
    return sorted(Path(run, "analysis").glob("*.png"))


def closing(rows: list[Row]) -> str:
    """The figures of merit: what was measured, beside what is to be reached."""
    names = ("frechet_distance", "inception_score", "label_accuracy")
    *summary, real = summarise(rows, names)
    at = {row["w"]: row for row in summary}
    weights = sorted(at)
    distance = {w: at[w]["frechet_distance"] for w in weights}
    score = {w: at[w]["inception_score"] for w in weights}
    best = min(distance, key=distance.__getitem__)
    inside = weights[0] < best < weights[-1]
    bound = 1.25 * real["frechet_distance"]
    plateau = max(score.values())
    rising = all(score[b] >= score[a] - 0.01 * plateau for a, b in pairwise(weights))
    lines = [
        ("label accuracy at w = 1", at[1]["label_accuracy"], ">= 0.97", at[1]["label_accuracy"] >= 0.97),
        ("label accuracy at w = 2", at[2]["label_accuracy"], ">= 0.99", at[2]["label_accuracy"] >= 0.99),
        (f"Fréchet distance at its best, w = {best:g}", distance[best], f"<= {bound:.3g} *", distance[best] <= bound),
        ("  its minimum is inside the range of w", best, f"in ({weights[0]:g}, {weights[-1]:g})", inside),
        ("  w = 8 over best", distance[8] / distance[best], ">= 3", distance[8] >= 3 * distance[best]),
        ("Inception-style score rises to its plateau", plateau, "never falls by > 1 %", rising),
    ]  # fmt: skip
    table = [f"{'figure of merit':48}{'measured':>10}   {'to reach':22}"]
    table += [f"{what:48}{value:>10.4g}   {goal:22}{'reached' if ok else 'MISSED'}" for what, value, goal, ok in lines]
    table.append(f"* the distance of real held-out digits ({real['frechet_distance']:.3g}, as many samples), plus 25 %")
    return "\n" + "\n".join(table)


if __name__ == "__main__":
    quickstart(sys.argv[1:])
