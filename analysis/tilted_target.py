"""Draw what guidance rules sample beside what they are said to sample: the tilted density p(x) p(y|x)^w / Z.

    python analysis/tilted_target.py
    python analysis/tilted_target.py path=vp 'w=[1,3]' 'rules=[cfg,smc]' toy.components=5 toy.std=0.4
    python analysis/tilted_target.py run=runs/eight_gaussians       # flowguide train moons data=eight_gaussians run=...

The field is exact, unless a run is named, so that no network errs. Shaded is the tilted density; in each panel stands
the sliced Wasserstein distance of the samples from it, and in the caption what as many samples of the density itself
have. Classifier-free guidance mixes the scores of two diffusing laws, which is not the score of the diffusing mix: its
flow lands farther out and in a smaller patch, its SDE nearer. Settings: recipes/analysis/tilted_target.yaml. Writes
tilted_target.png, .pdf, .csv and .json (all distances) into runs/tilted_target.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from quality_of_rules import resolved
from torch import Tensor
from tqdm import tqdm

from flowguide import diagnostics, guidance, paths, sample, solvers, training
from flowguide.cli import script
from flowguide.drawing import BLUE, PAGE, save, use_style
from flowguide.evaluation import weights_of, write_csv
from flowguide.fields import Field, GaussianMixture, MixtureField
from flowguide.fields.oracle import ring
from flowguide.options import check_options

_BESIDE = 2  # blocks of rules, each as wide as there are weights
_NUMBERS = ("kl", "mmd2", "mean_error", "covariance_error")
Row = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """What recipes/analysis/tilted_target.yaml may say, resolved."""

    out: str
    path: Mapping[str, Any]
    solver: Mapping[str, Any]
    rules: Sequence[Any]
    toy: Mapping[str, Any]
    run: str | None = None
    w: float | Sequence[float] = (1.0, 2.0, 4.0)
    cond: int = 0
    num: int = 2000
    seed: int = 0
    device: str = "auto"
    ema: bool | float = True
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.num < 100:
            raise ValueError(f"num must be an integer of at least 100, not {self.num}")


def tilted_target(settings: dict[str, Any], folder: Path) -> list[Row]:
    """Sample, compare, draw, write the numbers; a row per rule and weight."""
    config = Config(**check_options("the script", Config, (), settings))
    weights = weights_of({"w": config.w})
    field, law = subject(config)
    field.check_condition(torch.tensor([config.cond]), 1)
    cond = torch.full((config.num,), config.cond)
    rows, drawn = [], {}
    for label, node, solver in tqdm(labelled(config), desc="sampling", unit="rule"):
        if "w" not in node:
            raise ValueError(f"{node['name']} has no weight, and so no tilted density to sample")
        for w in weights:
            rule = guidance.registry.build_from({**training.with_models(node, field), "w": w}, field)
            x = sample(rule, (config.num, 2), cond, solver, config.seed, dtype=torch.float64)
            t = float(solver.times(rule)[-1])
            found = diagnostics.build("tilt_error", mixture=law, w=w, seed=config.seed)(rule, x.cpu(), t, cond)
            numbers = {name: float(found.parts[name]) for name in _NUMBERS}
            rows.append({"rule": label, "w": w, "distance": found.value, "error": found.error, **numbers,
                         "floor": found.parts["floor"], "kl_floor": found.parts["kl_floor"]})  # fmt: skip
            drawn[label, w] = x.cpu()
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "tilted_target.csv", rows)
    (folder / "tilted_target.json").write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")
    print(table(rows, weights))
    print("figure:", *save(figure(rows, drawn, law, config.cond), folder / "tilted_target"))
    return rows


def subject(config: Config) -> tuple[Field, GaussianMixture]:
    """The field, and the law of its data."""
    if config.run is None:
        toy = ring(**check_options("toy", ring, (), config.toy))
        return MixtureField(toy, paths.registry.build_from(config.path)), toy
    model = training.load_generative(config.run, config.ema, config.device)
    data = training.build_dataset(model.config, "test")
    if data.law is None:
        raise ValueError(f"{config.run} is of {data.name}, whose law is not known; this needs one that is")
    return model.double().requires_grad_(False), data.law


def labelled(config: Config) -> list[tuple[str, dict[str, Any], solvers.Solver]]:
    """Label, node and solver of each rule; a rule that is there twice is told apart by its solver."""
    found = [
        (node["name"], node, solvers.registry.build_from(solver))
        for _, node, solver in resolved(list(config.rules), None, config.solver)
    ]
    names = [name for name, _, _ in found]
    return [
        (f"{name}, SDE" if names.count(name) > 1 and solver.stochastic else name, node, solver)
        for name, node, solver in found
    ]


def table(rows: Sequence[Row], weights: Sequence[float]) -> str:
    """The distances as text, a line per rule."""
    names = list(dict.fromkeys(row["rule"] for row in rows))
    at = {(row["rule"], row["w"]): row for row in rows}
    width = max(map(len, names))
    lines = [f"{'sliced Wasserstein distance':{max(width, 28)}}" + "".join(f"{f'w = {w:g}':>16}" for w in weights)]
    for name in names:
        cells = [f"{at[name, w]['distance']:.3f} ± {at[name, w]['error']:.3f}" for w in weights]
        lines.append(f"{name:{max(width, 28)}}" + "".join(f"{cell:>16}" for cell in cells))
    floors = [f"{at[names[0], w]['floor']:.3f}" for w in weights]
    lines.append(f"{'(of the density itself)':{max(width, 28)}}" + "".join(f"{cell:>16}" for cell in floors))
    return "\n".join(lines)


def figure(rows: Sequence[Row], drawn: Mapping[tuple[str, float], Tensor], law: GaussianMixture, cond: int) -> Any:
    """A panel per rule and weight, rules in blocks side by side."""
    use_style()
    import matplotlib.pyplot as plt

    names, weights = (list(dict.fromkeys(row[key] for row in rows)) for key in ("rule", "w"))
    at = {(row["rule"], row["w"]): row for row in rows}
    beside = min(_BESIDE, len(names))
    lines, columns = -(-len(names) // beside), beside * len(weights)
    size = (PAGE, PAGE / columns * lines + 0.6)
    panels, axes = plt.subplots(lines, columns, figsize=size, layout="constrained", squeeze=False)
    left, right, bottom, top = extent = frame(drawn.values())
    for ax in axes.flat:
        ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
    densities = {w: tilted(law, w, cond, extent) for w in weights}
    for index, name in enumerate(names):
        block, line = divmod(index, lines)
        for column, w in enumerate(weights):
            ax = axes[line, block * len(weights) + column]
            darkest = 1.6 * float(densities[w].max())
            ax.imshow(densities[w], origin="lower", extent=extent, cmap="Greys", vmin=0, vmax=darkest)
            ax.plot(*drawn[name, w][:800].T.numpy(), ".", color=BLUE, markersize=1.2, alpha=0.5, markeredgewidth=0)
            ax.text(0.96, 0.04, f"{at[name, w]['distance']:.2f}", transform=ax.transAxes, ha="right", fontsize=6)
            if line == 0:
                ax.set_title(f"$w$ = {w:g}")
        axes[line, block * len(weights)].set_ylabel(name, fontsize=6)
    if len(names) < beside * lines:
        for ax in axes[-1, -len(weights) :]:
            ax.set_visible(False)
    floor = max(row["floor"] for row in rows)
    panels.supxlabel(
        f"Grey: the tilted density $p(x)\\,p(y|x)^w/Z$. Numbers: sliced Wasserstein distance in data units; as many "
        f"samples of the density itself have up to {floor:.2f}.", fontsize=6,
    )  # fmt: skip
    return panels


def frame(drawn: Iterable[Tensor]) -> tuple[float, float, float, float]:
    """A square around the samples of most rules, so that one that goes astray does not set it: two sides and two."""
    ends = torch.stack([x.quantile(torch.tensor([0.005, 0.995], dtype=x.dtype), dim=0) for x in drawn])
    low, high = ends[:, 0].quantile(0.2, dim=0), ends[:, 1].quantile(0.8, dim=0)
    middle, half = (low + high) / 2, 0.6 * float((high - low).max())
    return tuple(float(end) for centre in middle for end in (centre - half, centre + half))


def tilted(law: GaussianMixture, w: float, cond: int, extent: tuple[float, ...], size: int = 160) -> Any:
    """The tilted density on a grid, as an image."""
    lines = [torch.linspace(*extent[i : i + 2], size, dtype=torch.float64) for i in (0, 2)]
    target = diagnostics.TiltedMixture(law, w)
    return target.log_prob(torch.cartesian_prod(*lines), cond).exp().reshape(size, size).T.numpy()


if __name__ == "__main__":
    script(tilted_target, "analysis/tilted_target")
