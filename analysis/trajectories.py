"""Draw the flow of samples from noise to data, guided and not, over the exact density of a toy.

    python analysis/trajectories.py
    python analysis/trajectories.py path=vp 'guidance.w=[0,1,2,4]' toy.components=3 toy.std=0.5 cond=1

The field is exact (a Gaussian mixture's), so whatever one sees is guidance's doing and no network's. Rows are guidance
weights. Shaded is the exact density of the class that is asked for (of all classes, for w = 0) at each time; the paths
to the right have the colour of its logarithm at the state and the time where they are. At w > 1 the samples leave it:
they end farther out than any data of the class, in a smaller patch. Settings: recipes/analysis/trajectories.yaml.
Writes trajectories.png, .pdf, .csv (the states drawn, with log p), .json (moments at the end) into runs/trajectories.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowguide import guidance, paths, solvers
from flowguide.cli import script
from flowguide.drawing import BLUE, PAGE, RED, save, use_style
from flowguide.evaluation import weights_of
from flowguide.fields import MixtureField
from flowguide.fields.oracle import ring
from flowguide.options import check_options
from flowguide.training import with_models

SHOWN = (0.0, 0.5, 0.75, 1.0)  # shares of the steps at which states are drawn
NAMES = {0: "unconditional", 1: "conditional"}


@dataclass(frozen=True)
class Config:
    """What recipes/analysis/trajectories.yaml may say, resolved."""

    out: str
    path: Mapping[str, Any]
    guidance: Mapping[str, Any]
    solver: Mapping[str, Any]
    toy: Mapping[str, Any]
    cond: int = 0
    num: int = 400
    drawn: int = 40
    seed: int = 0
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("num", "drawn"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be an integer of at least 1, not {getattr(self, name)}")


def trajectories(settings: dict[str, Any], folder: Path) -> None:
    """Sample, draw, write the numbers."""
    config = Config(**check_options("the script", Config, (), settings))
    toy = ring(**check_options("toy", ring, (), config.toy))
    field = MixtureField(toy, paths.registry.build_from(config.path))
    solver = solvers.registry.build_from(config.solver)
    cond = torch.full((config.num,), config.cond)
    times = solver.times(field)
    start = field.path.prior((config.num, 2), config.seed, t=float(times[0]), dtype=torch.float64)
    noise = {"seed": config.seed} if solver.stochastic else {}
    states = {}
    node = with_models(config.guidance, field)
    for w in weights_of(config.guidance):
        rule = guidance.registry.build_from({**node, "w": w}, field).double()  # as the states, networks in it too
        states[w] = solver.trajectory(rule, start, cond, **noise)

    # Along the paths that are drawn, log p_t of the class, of all classes for w = 0.
    asked = cond[: config.drawn]
    log_probs = {
        w: torch.stack(
            [field.log_prob(x[: config.drawn], t, None if w == 0 else asked) for x, t in zip(of_w, times, strict=True)]
        )
        for w, of_w in states.items()
    }
    files = save(figure(field, states, log_probs, times, cond), folder / "trajectories")
    write_numbers(field, states, log_probs, times, cond, settings, folder)
    print("figure:", *files)


def figure(
    field: MixtureField,
    states: dict[float, Tensor],
    log_probs: dict[float, Tensor],
    times: Tensor,
    cond: Tensor,
) -> Any:
    """A row per weight: snapshots over the density of their time, then the paths, in the colour of log p along them."""
    use_style()
    import matplotlib.pyplot as plt
    from matplotlib.collections import LineCollection

    drawn = len(next(iter(log_probs.values()))[0])
    values = torch.cat([each.flatten() for each in log_probs.values()])
    scale = plt.Normalize(float(values.quantile(0.03)), float(values.max()))
    count = len(SHOWN) + 1
    reach = max(float(of_w.abs().flatten().quantile(0.998)) for of_w in states.values())
    panels, axes = plt.subplots(
        len(states), count, figsize=(PAGE, PAGE / count * len(states) * 1.03), layout="constrained", squeeze=False
    )
    for row, (w, tensor) in zip(axes, states.items(), strict=True):
        of_w = tensor.numpy()
        colour = BLUE if w <= 1 else RED
        asked = None if w == 0 else cond
        for ax, share in zip(row, SHOWN, strict=False):
            step = round(share * (len(times) - 1))
            shade(ax, field, float(times[step]), asked, reach)
            ax.plot(*of_w[step].T, ".", color=colour, markersize=1.5, alpha=0.6, markeredgewidth=0)
        shade(row[-1], field, float(times[-1]), asked, reach)
        pieces = torch.stack([tensor[:-1, :drawn], tensor[1:, :drawn]], 2).flatten(0, 1).numpy()
        of_pieces = log_probs[w][1:].flatten().numpy()
        lines = LineCollection(pieces, cmap="plasma", norm=scale, array=of_pieces, linewidths=0.5)
        row[-1].add_collection(lines)
        row[0].set_ylabel(f"{NAMES.get(w, 'guided')}, $w$ = {w:g}\n$x_2$ (data units)")
    for ax, share in zip(axes[0], SHOWN, strict=False):
        ax.set_title(f"$t$ = {float(times[round(share * (len(times) - 1))]):.2g}")
    axes[0][-1].set_title(f"{drawn} paths, $t$ = 0 to 1")
    panels.colorbar(lines, ax=axes[:, -1], label=r"$\log p_t(x_t)$ (nats)", shrink=0.6, extend="min")
    for ax in axes.flat:
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
        ax.label_outer()
    for ax in axes[-1]:
        ax.set_xlabel("$x_1$ (data units)")
    return panels


def shade(ax: Any, field: MixtureField, t: float, cond: Tensor | None, reach: float, size: int = 160) -> None:
    """The exact density at time ``t`` in grey, on a scale of its own."""
    line = torch.linspace(-reach, reach, size, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    asked = None if cond is None else cond[:1].expand(len(grid))
    density = field.log_prob(grid, t, asked).exp().reshape(size, size).T.numpy()
    extent = (-reach, reach, -reach, reach)
    ax.imshow(density, origin="lower", extent=extent, cmap="Greys", vmin=0, vmax=1.8 * float(density.max()))


def write_numbers(
    field: MixtureField,
    states: dict[float, Tensor],
    log_probs: dict[float, Tensor],
    times: Tensor,
    cond: Tensor,
    settings: dict[str, Any],
    folder: Path,
) -> None:
    """The drawn states as CSV; moments of the samples, and of the data, as JSON."""
    with (folder / "trajectories.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["w", "t", "sample", "x1", "x2", "log_p"])
        for w, of_w in states.items():
            for t, state, of_state in zip(times.tolist(), of_w, log_probs[w], strict=True):
                drawn = zip(state.tolist(), of_state.tolist(), strict=False)  # the first of the samples
                writer.writerows(
                    [w, f"{t:.6g}", i, *(f"{v:.6g}" for v in (*x, log_p))] for i, (x, log_p) in enumerate(drawn)
                )
    data = field.mixture.sample(100_000, cond=cond[:1].expand(100_000), dtype=torch.float64)[0]
    moments = {f"w={w:g}": moments_of(of_w[-1], field, cond) for w, of_w in states.items()}
    summary = {"settings": settings, "data of the class": moments_of(data, field, cond), "samples": moments}
    (folder / "trajectories.json").write_text(json.dumps(summary, indent=1) + "\n")


def moments_of(points: Tensor, field: MixtureField, cond: Tensor) -> dict[str, Any]:
    """Mean, standard deviation, and mean posterior probability of the class that was asked for."""
    posterior = field.mixture.posterior(points)[:, int(cond[0])].mean().item()
    return {"mean": points.mean(0).tolist(), "std": points.std(0).tolist(), "posterior": posterior}


if __name__ == "__main__":
    script(trajectories, "analysis/trajectories")
