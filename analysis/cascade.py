"""A cascade against what it is to be better than: enlarged images of its first stage, and one stage of the same cost.

    python analysis/cascade.py runs/glyphs64_sr first=runs/glyphs16_base direct=runs/glyphs64_unet

Rows are the cascade at every level of noise between the stages and every guidance weight of the second; the images of
the first stage enlarged bicubically; held-out images, reduced, through the second stage, which is as good as a cascade
can get; the direct model; held-out images, as many; and the same reduced and enlarged bicubically. All are measured at
the large size, in the features of flowguide's own classifier. The cascade and the direct model are measured by
'flowguide evaluate', whose points are in RUN/evaluation/cascade; other rows are kept in points.json. What training cost
is counted, not timed: three evaluations of the network per sample and step. Settings: recipes/analysis/cascade.yaml.
Writes cascade.png, .pdf, .csv and .json into RUN/analysis.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from cascade_rows import AS_MANY, BICUBIC, CASCADE, DIRECT, UPPER, Config, Drawn
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm

from flowguide import drawing, metrics
from flowguide.cli import script
from flowguide.digest import digest_of, digest_of_tensors
from flowguide.evaluation import REAL, Row, Views, evaluate, write_csv
from flowguide.evaluation.evaluate import measure_all
from flowguide.evaluation.kept import Kept
from flowguide.options import check_options


def cascade(settings: dict[str, Any], folder: Path) -> list[Row]:
    """Measure, draw and write; a row per kind of samples, level, weight and seed, and a last one of the real data."""
    config = Config(**check_options("the script", Config, (), settings))
    drawn = Drawn(config)
    measures = {name: metrics.build(name) for name in config.metrics}
    node, views = drawn.stages[1].plain.config.data, Views()
    rows, said = [], set()
    for about, asked in drawn.evaluations():
        *points, _ = evaluate(asked, Path(asked.out), views=views)
        of = ("w", "seed", "num", *config.metrics)
        rows += [{**about, **{name: point[name] for name in of}} for point in points]
    view = views(node, {"name": "classifier"}, config.classifier, config.device, True)
    features, real = view.features, view.real
    known = {
        "features": features.digest,
        "stages": [digest_of_tensors(stage.plain.state_dict()) for stage in drawn.stages],
        **{name: settings[name] for name in ("first_guidance", "solver", "metrics", "num")},
    }
    kept = Kept(folder / "points.json")
    for (about, draw), seed in tqdm(list(product(drawn.rows(), config.seeds)), desc="measuring", unit="row"):
        key = digest_of([known, about, seed])
        if key not in kept:
            seen = features.see(draw(config.num, seed), drawn.told(config.num).labels)
            kept[key] = measure_all(measures, seen, real.train, said)
        rows.append({**about, "seed": seed, "num": config.num, **kept[key]})
    held_out = measure_all(measures, real.test, real.train, said)
    rows.append({"what": REAL, "augmentation": None, "w": None, "seed": None, "num": len(real.test), **held_out})
    folder.mkdir(parents=True, exist_ok=True)
    write(rows, {"features": real.caption, **drawn.costs(), "settings": settings}, config.metrics, folder)
    print(
        "figure:",
        *drawing.save(figure(rows, pictures(drawn, rows), config.metrics[0], real.caption), folder / "cascade"),
    )
    return rows


def best(rows: Sequence[Row], what: str, metric: str) -> Row:
    """The row of a kind whose metric, the mean over seeds, is the best."""
    sign = 1 if metrics.registry.get(metric).better == "lower" else -1
    of = [row for row in rows if row["what"] == what]
    return min(of, key=lambda row: sign * mean(of, row, metric))


def mean(rows: Sequence[Row], row: Row, metric: str) -> float:
    """Over the seeds of the rows that are otherwise as this one."""
    same = [each[metric] for each in rows if all(each[key] == row[key] for key in ("what", "augmentation", "w"))]
    return sum(same) / len(same)


def pictures(drawn: Drawn, rows: Sequence[Row]) -> dict[str, Tensor]:
    """The same first samples in every way, those of the best rows."""
    config, metric = drawn.config, drawn.config.metrics[0]
    num, seed = config.shown, config.seeds[0]
    small, row = drawn.first(num, seed), best(rows, CASCADE, metric)
    size = drawn.stages[1].plain.config.shape[-1]
    found = {
        "first stage": interpolate(small, (size, size), mode="nearest"),
        "bicubic": drawn.enlarged(small),
        "cascade": drawn.second(small, row["w"], row["augmentation"], seed),
    }
    if drawn.direct:
        found["direct"] = drawn.at_once(num, best(rows, DIRECT, metric)["w"], seed)
    upper = best(rows, UPPER, metric)
    found["real, reduced"] = interpolate(drawn.small(num), (size, size), mode="nearest")
    found["second stage"] = drawn.second(drawn.small(num), upper["w"], 0.0, seed)
    return {**found, "real": drawn.real(num)}


def figure(rows: Sequence[Row], images: Mapping[str, Tensor], metric: str, caption: str) -> Any:
    """Left the images, a row of each kind; right the metric against the level of noise between the stages."""
    drawing.use_style()
    import matplotlib.pyplot as plt

    panels, (left, right) = plt.subplots(
        1, 2, figsize=(drawing.PAGE, 2.6), width_ratios=[1.35, 1], layout="constrained"
    )
    count = len(next(iter(images.values())))
    picture = torch.cat([drawing.tile(each, count) for each in images.values()])
    left.imshow(picture.numpy().squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
    tall = picture.shape[0] / len(images)
    left.set_yticks([(number + 0.5) * tall for number in range(len(images))], list(images))
    left.set_xticks([])
    left.tick_params(length=0)
    left.spines[:].set_visible(False)
    of = [row for row in rows if row["what"] == CASCADE]
    for w, colour in zip(dict.fromkeys(row["w"] for row in of), drawing.COLOURS, strict=False):
        line = {row["augmentation"]: mean(rows, row, metric) for row in of if row["w"] == w}
        right.plot(line.keys(), line.values(), marker="o", color=colour, label=f"cascade, w = {w:g}")
    styles = {BICUBIC: "-", DIRECT: "--", UPPER: "-.", AS_MANY: ":"}
    for what, style in styles.items():
        if any(row["what"] == what for row in rows):
            value = mean(rows, best(rows, what, metric), metric)
            right.axhline(value, color=drawing.BLACK, linestyle=style, linewidth=0.7, label=what)
    if metrics.registry.get(metric).better == "lower":
        right.set_yscale("log")
    right.set(xlabel="noise on the images between the stages", title=metrics.registry.get(metric).title)
    right.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    panels.supxlabel(caption, fontsize=6)
    return panels


def write(rows: list[Row], about: Mapping[str, Any], names: Sequence[str], folder: Path) -> None:
    """The numbers, as a table on the screen, .csv and .json."""
    write_csv(folder / "cascade.csv", rows)
    (folder / "cascade.json").write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    print(f"{'':30} noise     w" + "".join(f"{metrics.registry.get(name).title:>20}" for name in names))
    for row in rows:
        noise, w = ("-" if row[key] is None else f"{row[key]:g}" for key in ("augmentation", "w"))
        print(f"{row['what']:30}{noise:>6}{w:>6}" + "".join(f"{row[name]:>20.4g}" for name in names))
    for name, value in about.items():
        if name.endswith("_training"):
            print(f"{name.removesuffix('_training')}: {value / 1e12:.1f} TFLOP to train")


if __name__ == "__main__":
    example = "python analysis/cascade.py runs/glyphs64_sr first=runs/glyphs16_base"
    script(cascade, "analysis/cascade", example=example)
