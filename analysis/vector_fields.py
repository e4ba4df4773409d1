"""Draw what guidance makes of a field in the plane: streamlines, curl, and the part that is no gradient.

    python analysis/vector_fields.py                                   # exact: nothing rotates
    python analysis/vector_fields.py run=runs/moons out=runs/moons/analysis
    python analysis/vector_fields.py run=runs/moons guidance.w=6 kind=velocity 'times=[0.5,0.8]'

A row per time; unconditional, conditional and guided field. Colour is the curl, on one scale per row; lines are level
lines of the density that the field belongs to: p(x), p(x|y), and for the guided one p(x)^(1-w) p(x|y)^w, of the toy or
of the data of a run under noise. To the right is the rotational part of the guided field, the rest of Helmholtz's split
weighted by the density, and its share of the energy. Settings: recipes/analysis/vector_fields.yaml. Writes
vector_fields.png, .pdf, .csv and .json (rotational shares and asymmetries) into runs/vector_fields.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from flowguide import diagnostics, drawing, guidance, paths, training
from flowguide.cli import script
from flowguide.evaluation import weights_of, write_csv
from flowguide.fields import Field, MixtureField
from flowguide.fields.oracle import ring
from flowguide.options import check_options
from flowguide.randomness import normal

LogDensity = Callable[[Tensor, Tensor, Tensor | None], Tensor]
Row = dict[str, Any]
_DATA = 2000  # of a run, that make up its density
_PLATE = {"bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.0}}


@dataclass(frozen=True)
class Config:
    """What recipes/analysis/vector_fields.yaml may say, resolved."""

    out: str
    path: Mapping[str, Any]
    guidance: Mapping[str, Any]
    toy: Mapping[str, Any]
    times: Sequence[float]
    run: str | None = None
    kind: str = "score"
    cond: int = 0
    num: int = 1000
    cells: int = 64
    seed: int = 0
    device: str = "auto"
    ema: bool | float = True
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.num < 10:
            raise ValueError(f"num must be an integer of at least 10, not {self.num}")
        if not self.times or not all(0 <= t <= 1 for t in self.times):
            raise ValueError(f"times must be a list of times in [0, 1], not {list(self.times)}")


def vector_fields(settings: dict[str, Any], folder: Path) -> list[Row]:
    """Measure, draw, write the numbers; a row per field and time."""
    config = Config(**check_options("the script", Config, (), settings))
    field, data, labels, log_density = subject(config)
    weights = weights_of(config.guidance)
    if len(weights) != 1:
        raise ValueError(f"guidance.w is one weight here, not {weights}")
    rule = guidance.registry.build_from({**training.with_models(config.guidance, field), "w": weights[0]}, field)
    rows, splits = measure(field, rule, data, labels, log_density, weights[0], config)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "vector_fields.csv", rows)
    (folder / "vector_fields.json").write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")
    for row in rows:
        print(
            f"t = {row['t']:g}, {row['field']}: rotational share {row['share']:.2g}, asymmetry {row['asymmetry']:.2g}"
        )
    print("figure:", *drawing.save(figure(splits, weights[0], config), folder / "vector_fields"))
    return rows


def subject(config: Config) -> tuple[Field, Tensor, Tensor, LogDensity]:
    """The field, data and labels of its law, and log p_t(x | y)."""
    if config.run is None:
        toy = ring(**check_options("toy", ring, (), config.toy))
        exact = MixtureField(toy, paths.registry.build_from(config.path))
        exact.check_condition(torch.tensor([config.cond]), 1)
        return exact, *toy.sample(max(config.num, _DATA), config.seed, dtype=torch.float64), exact.log_prob
    model = training.load_generative(config.run, config.ema, config.device).double().requires_grad_(False)
    test = training.build_dataset(model.config, "test")
    if test.shape != (2,) or model.num_classes is None:
        raise ValueError(f"this draws labelled points in the plane, and {config.run} is one of {test.name}")
    model.check_condition(torch.tensor([config.cond]), 1)
    data, labels = test.samples.double(), test.labels

    def log_density(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        # Of the data themselves under the noise of the path, each a Gaussian.
        chosen = data if cond is None else data[labels == cond[0].cpu()]
        alpha, sigma = model.path.alpha(t).to(x), model.path.sigma(t).to(x).clamp(min=0.05)
        distances = torch.cdist(x, alpha * chosen[:_DATA].to(x))
        return torch.logsumexp(-0.5 * (distances / sigma) ** 2, 1)

    return model, data, labels, log_density


def measure(
    field: Field,
    rule: Field,
    data: Tensor,
    labels: Tensor,
    log_density: LogDensity,
    w: float,
    config: Config,
) -> tuple[list[Row], dict[tuple[float, str], Mapping[str, Any]]]:
    """Helmholtz's split and the asymmetry of each field at each time."""

    def guided(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return (1 - w) * log_density(x, t, None) + w * log_density(x, t, cond)

    asked = {"unconditional": (field, False, log_density), "conditional": (field, True, log_density)}
    asked["guided"] = (rule, True, guided)
    device = next((p.device for p in field.parameters()), None)
    rows, splits = [], {}
    with tqdm(total=len(asked) * len(config.times), desc="measuring", unit="field") as bar:
        for t in config.times:
            time = torch.tensor(t, dtype=torch.float64)
            noise = normal(data.shape, config.seed, dtype=torch.float64)
            states = field.path.interpolate(data, noise, time).x.to(device)
            for name, (which, conditional, density) in asked.items():
                x = states[labels == config.cond] if conditional else states
                x = x[: config.num]
                cond = torch.full((len(x),), config.cond, device=device) if conditional else None
                box = square_around(states)
                helmholtz = diagnostics.build(
                    "helmholtz", kind=config.kind, density=density, box=box, cells=config.cells
                )
                split = helmholtz(which, x, time, cond)
                asymmetry = diagnostics.build("asymmetry", kind=config.kind)(which, x, time, cond)
                rows.append({"t": t, "field": name, "w": {"unconditional": 0, "conditional": 1}.get(name, w),
                             "share": split.value, "asymmetry": asymmetry.value, "error": asymmetry.error})  # fmt: skip
                splits[t, name] = {**split.parts, "share": split.value}
                bar.update()
    return rows, splits


def square_around(states: Tensor) -> list[float]:
    """A square that holds all but the farthest states, and a margin."""
    low, high = states.quantile(torch.tensor([0.005, 0.995], dtype=states.dtype, device=states.device), dim=0)
    middle, half = (low + high) / 2, 0.65 * float((high - low).max())
    return [end for centre in middle.tolist() for end in (centre - half, centre + half)]


def figure(splits: Mapping[tuple[float, str], Mapping[str, Any]], w: float, config: Config) -> Any:
    """A row per time: three fields over their curl, and the rotational part of the guided one."""
    drawing.use_style()
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(name for _, name in splits))
    times = list(dict.fromkeys(t for t, _ in splits))
    size = (drawing.PAGE, 1.62 * len(times) + 0.45)
    panels, axes = plt.subplots(len(times), len(names) + 1, figsize=size, layout="constrained", squeeze=False)
    for t, row in zip(times, axes, strict=True):
        # Colour begins where the curl is some per cent of the slopes: rounding is no curl.
        curls = torch.cat([splits[t, name]["curl"][splits[t, name]["weight"] > 1e-3] for name in names])
        top = max(float(curls.abs().quantile(0.98)), 0.02 * slope(splits[t, "unconditional"]))
        for name, ax in zip(names, row[:-1], strict=True):
            image = draw(ax, splits[t, name], splits[t, name]["field"], splits[t, name]["curl"], top)
        last = splits[t, "guided"]
        draw(row[-1], last, last["rotational"], last["curl"], top)
        share = f"{100 * last['share']:.2g} %" if last["share"] > 1e-4 else "< 0.01 %"
        row[-1].text(0.97, 0.04, share, transform=row[-1].transAxes, ha="right", fontsize=7, **_PLATE)
        row[0].set_ylabel(f"$t$ = {t:g}")
        panels.colorbar(image, ax=row[-1], label="curl", shrink=0.8)
    titles = [*names[:-1], f"guided, $w$ = {w:g}", "its rotational part"]
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title)
    whose = "exact field of a mixture" if config.run is None else f"network of {Path(config.run).name}"
    panels.supxlabel(
        f"{config.kind} of the {whose}, class {config.cond}; lines: level lines of the density it belongs to; "
        "per cent: share of the energy", fontsize=6,
    )  # fmt: skip
    return panels


def slope(split: Mapping[str, Any]) -> float:
    """The size of the derivatives of a field, from its values on a grid."""
    step = float(split["centres"][1, 0, 0] - split["centres"][0, 0, 0])
    return float(split["field"].diff(dim=0).square().mean().sqrt()) / step


def draw(ax: Any, split: Mapping[str, Any], arrows: Tensor, curl: Tensor, top: float) -> Any:
    """One panel; the image of the curl."""
    centres = split["centres"].cpu()
    first, second = centres[:, 0, 0].numpy(), centres[0, :, 1].numpy()
    extent = (first[0], first[-1], second[0], second[-1])
    image = ax.imshow(curl.T.cpu().numpy(), origin="lower", extent=extent, cmap="RdBu_r", vmin=-top, vmax=top)
    u, v = arrows.cpu().unbind(-1)
    if float(arrows.abs().max()) > 1e-6 * float(split["field"].abs().max()):
        ax.streamplot(first, second, u.T.numpy(), v.T.numpy(), color="0.25", linewidth=0.4, arrowsize=0.4, density=0.9)
    levels = [0.01, 0.1, 0.5]
    ax.contour(first, second, split["weight"].T.cpu().numpy(), levels, colors=drawing.BLACK, linewidths=0.6)
    ax.set(xlim=extent[:2], ylim=extent[2:], aspect="equal", xticks=[], yticks=[])
    return image


if __name__ == "__main__":
    script(vector_fields, "analysis/vector_fields")
