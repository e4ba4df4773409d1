"""Accuracy per evaluation: how far a solver ends from where the flow ends, for 5 to 50 evaluations of the field.

    pip install 'flowguide[bench]'                                   # the peers, without which ours run alone
    python analysis/benchmarks/solver_accuracy.py
    python analysis/benchmarks/solver_accuracy.py --peers peers.csv  # and figures measured elsewhere, by the same rules

The problems are exact, two labelled Gaussian mixtures (2-D and 64-D) guided with w = 1, 2 and 4, on DDPM's schedule
("vp") and on rectified flow ("flow"). The error is the RMSE in float64 over samples and coordinates to a solution good
to 1e-9 from the same noise. Every solver gets the most steps that fit its evaluations. Ours end where the path does, at
sigma = 1e-3 on vp, and are compared with the flow there; peers end at 0 and are compared with the flow there.

Printed, for each path and number of evaluations, as geometric means over dimensions and weights: errors over the best
peer's, which is chosen anew in each case. Writes solver_accuracy.csv and the figure to runs/benchmarks.
"""

import argparse
import csv
import math
from collections.abc import Iterable
from pathlib import Path

import torch
from oracles import DOUBLE, Problem, problems
from peers import installed, noisiest

import flowguide as fg
from flowguide import drawing

BUDGETS = (5, 8, 10, 15, 20, 30, 50)
TUNED = {"name": "shifted", "shift": 1.4, "power": 1.5}
GRIDS = {"uniform": "uniform", "shifted": TUNED, "karras": "karras", "log_snr": "log_snr", "quadratic": "quadratic"}
SHOWN = ("auto", "dpmpp_2m log_snr", "unipc log_snr", "heun straight uniform", "ddim uniform")

Errors = dict[tuple[str, int, float, str, int], float]  # path, dim, w, solver, evaluations


def ours() -> dict[str, tuple[str, dict]]:
    """All deterministic solvers of fixed steps on all grids, in straight coordinates where they can be chosen."""
    settings: dict[str, tuple[str, dict]] = {"auto": ("auto", {})}
    for name in ("ddim", "dpmpp_2s", "dpmpp_2m", "dpmpp_3m", "unipc", "deis", "edm_heun"):
        settings |= {f"{name} {grid}": (name, {"grid": node}) for grid, node in GRIDS.items()}
    for name in ("euler", "midpoint", "heun", "ralston", "rk3", "rk4", "ab2", "ab3", "ab4"):
        for grid in ("uniform", "shifted"):
            options = {"grid": {"name": "shifted", "shift": 1.0} if grid == "uniform" else TUNED}
            settings[f"{name} straight {grid}"] = (name, {**options, "coordinates": "straight"})
    for predictor in (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0):
        for shift, power in ((1.0, 1.0), (1.0, 1.25), (1.4, 1.5), (1.6, 1.7)):
            grid = {"name": "shifted", "shift": shift, "power": power}
            settings[f"pec {predictor:g} shift {shift:g} power {power:g}"] = (
                "pec",
                {"predictor": predictor, "grid": grid},
            )
    return settings


def fitting(name: str, options: dict, budget: int) -> fg.solvers.Solver | None:
    """The solver with the most steps whose evaluations fit."""
    for steps in range(budget, 0, -1):
        solver = fg.solvers.build(name, steps=steps, **options)
        if solver.evaluations <= budget:
            return solver
    return None


def rmse(x: torch.Tensor, truth: torch.Tensor) -> float:
    return float((x - truth).square().mean().sqrt())


def run_ours(problem: Problem, settings: dict[str, tuple[str, dict]], budgets: Iterable[int]) -> Errors:
    path, field = problem.field.path, problem.field
    ends = torch.tensor([field.t_min, field.t_max], dtype=DOUBLE)
    first, last = torch.sigmoid(-path.half_log_snr(ends)).tolist()
    truth = problem.reference(first, last) * float(path.alpha(ends[1]) + path.sigma(ends[1]))
    errors = {}
    for label, (name, options) in settings.items():
        for budget in budgets:
            if solver := fitting(name, options, budget):
                error = rmse(solver.solve(field, problem.noise, problem.labels), truth)
                errors[problem.path, problem.dim, problem.w, label, budget] = error
    return errors


class _Counted:
    """A problem that counts its predictions."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.path, self.noise, self.count = problem, problem.path, problem.noise, 0

    def predict(self, x: torch.Tensor, alpha: torch.Tensor, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.count += 1
        return self.problem.predict(x, alpha, sigma)


def run_peers(problem: Problem, budgets: Iterable[int], steps: dict[tuple[str, int], int]) -> Errors:
    """``steps`` keeps how many steps of each solver fit, as counted on the first problem."""
    truth, errors = problem.reference(noisiest(problem.path), 0.0), {}
    for label, run in installed(problem.path).items():
        for budget in budgets:
            for n in [steps[label, budget]] if (label, budget) in steps else range(budget, 0, -1):
                counted = _Counted(problem)
                try:
                    x = run(counted, n)
                except (ValueError, IndexError, AssertionError):  # too few steps for it
                    continue
                if counted.count <= budget:
                    steps[label, budget] = n
                    error = rmse(x.double(), truth)
                    errors[problem.path, problem.dim, problem.w, label, budget] = (
                        error if math.isfinite(error) else math.inf
                    )
                    break
    return errors


def read(file: str) -> Errors:
    with open(file) as lines:
        rows = csv.DictReader(lines)
        return {(r["path"], int(r["dim"]), float(r["w"]), r["solver"], int(r["nfe"])): float(r["rmse"]) for r in rows}


def mean(values: Iterable[float]) -> float:
    """Geometric."""
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.inf


def best(errors: Errors) -> dict[tuple[str, int, float, int], float]:
    lowest: dict[tuple[str, int, float, int], float] = {}
    for (path, dim, w, _, budget), error in errors.items():
        lowest[path, dim, w, budget] = min(error, lowest.get((path, dim, w, budget), math.inf))
    return lowest


def columns(errors: Errors, path: str, label: str | None = None) -> list[list[float]]:
    """For each budget the errors of all cases, of one solver or of the best in each."""
    lowest = best({key: e for key, e in errors.items() if label is None or key[3] == label})
    return [[e for key, e in sorted(lowest.items()) if key[0] == path and key[3] == n] for n in BUDGETS]


def report(mine: Errors, theirs: Errors, path: str) -> None:
    frontier = columns(theirs, path) if theirs else columns(mine, path)
    own = columns(mine, path)

    def row(label: str, values: list[list[float]]) -> list[float]:
        ratios = [
            mean(a / b for a, b in zip(v, f, strict=True)) if len(v) == len(f) else math.inf
            for v, f in zip(values, frontier, strict=True)
        ]
        print(f"{label:34}" + "".join(f"{r:8.2f}" for r in ratios))
        return ratios

    over = "the best peer in each case" if theirs else "our best in each case"
    print(f"\n{path}: error over that of {over}\n{'evaluations':34}" + "".join(f"{n:8}" for n in BUDGETS))
    row("our best in each case", own)
    labels = sorted({key[3] for key in mine if key[0] == path})
    singles = {label: [mean(v) if len(v) == len(f) else math.inf for v, f in zip(c, own, strict=True)]
               for label in labels for c in [columns(mine, path, label)]}  # fmt: skip
    lowest = [min(singles.values(), key=lambda s: s[i])[i] for i in range(len(BUDGETS))]
    for label in [*SHOWN, *sorted({min(singles, key=lambda s: singles[s][i]) for i in range(len(BUDGETS))} - {"auto"})]:
        row(label, columns(mine, path, label))
    relative = [a / b for a, b in zip(singles["auto"], lowest, strict=True)]
    print(f"{'auto over our best single setting':34}" + "".join(f"{r:8.2f}" for r in relative))
    if theirs:
        names = {key[3] for key in theirs if key[0] == path}
        full = [
            p for p in names if all(len(c) == len(f) for c, f in zip(columns(theirs, path, p), frontier, strict=True))
        ]
        for i in (0, 3, 6):
            label = min(full, key=lambda p: mean(columns(theirs, path, p)[i]))
            row(f"{label}, best single at {BUDGETS[i]}"[:34], columns(theirs, path, label))


def figure(mine: Errors, theirs: Errors) -> object:
    drawing.use_style()
    import matplotlib.pyplot as plt

    panels, axes = plt.subplots(1, 2, figsize=(drawing.PAGE, 2.6), layout="constrained", sharey=True)
    for ax, (path, title) in zip(axes, {"vp": "DDPM schedule", "flow": "rectified flow"}.items(), strict=True):
        for label, colour in zip(SHOWN, drawing.COLOURS, strict=False):
            ax.plot(BUDGETS, [mean(v) for v in columns(mine, path, label)], "o-", color=colour, label=label)
        if theirs:
            ax.plot(BUDGETS, [mean(v) for v in columns(theirs, path)], "--", color=drawing.BLACK, label="best peer")
        ax.set(xscale="log", yscale="log", title=title, xlabel="evaluations of the guided field")
        ax.set_xticks(BUDGETS, map(str, BUDGETS))
        ax.minorticks_off()
    axes[0].set_ylabel("RMSE at the end, data units")
    axes[1].legend(loc="lower left")
    panels.supxlabel(
        "Geometric means over 2-D and 64-D mixtures and w = 1, 2, 4. Best peer: the best of all, in each case.",
        fontsize=6,
    )
    return panels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", metavar="CSV", help="figures of peers: path, dim, w, solver, nfe, rmse")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder for the table and the figure")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    mine: Errors = {}
    theirs: Errors = read(arguments.peers) if arguments.peers else {}
    for path in ("vp", "flow"):
        steps: dict[tuple[str, int], int] = {}
        for problem in problems(path):
            mine |= run_ours(problem, ours(), BUDGETS)
            theirs |= run_peers(problem, BUDGETS, steps)
        report(mine, theirs, path)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with open(arguments.out / "solver_accuracy.csv", "w") as file:
        writer = csv.writer(file)
        writer.writerow(["whose", "path", "dim", "w", "solver", "nfe", "rmse"])
        for whose, errors in (("flowguide", mine), ("peer", theirs)):
            writer.writerows([whose, *key, f"{error:.4e}"] for key, error in errors.items())
    print("\nfigure:", *drawing.save(figure(mine, theirs), arguments.out / "solver_accuracy"))


if __name__ == "__main__":
    main()
