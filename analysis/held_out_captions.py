"""Draw how often samples are what their captions say, for pairs of letter and colour that training never saw.

    python analysis/held_out_captions.py runs/glyphs_text_cpu
    python analysis/held_out_captions.py runs/glyphs_text_cpu 'guidance.w=[1,2,4]' num=500 solver.steps=20

Of a run on drawn letters that is told captions and holds out some pairs (data.hold_out). Samples are drawn for captions
of the test split, of held-out pairs and of others, and two classifiers, one of letters and one of colours, say what
they are; both are trained on glyphs with no pair held out, once, and kept. Beside the curves stand samples, a row for
each caption and a column for each w, of one noise along a row. Points that were measured before are not measured again.
Settings: recipes/analysis/held_out_captions.yaml. Writes held_out_captions.png, .pdf, .csv and .json into RUN/analysis.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flowguide import data, drawing, guidance, solvers, training
from flowguide.cli import script
from flowguide.digest import digest_of, digest_of_tensors
from flowguide.evaluation import Row, weights_of, write_csv
from flowguide.evaluation.features import Setting
from flowguide.evaluation.features.classifier import classifier_of
from flowguide.evaluation.kept import Kept
from flowguide.options import check_options

WHAT = ("character", "colour")
PAIRS = ("common", "held out")  # as the data set names them


@dataclass(frozen=True)
class Config:
    """What recipes/analysis/held_out_captions.yaml may say, resolved."""

    run: str
    home: str
    out: str
    guidance: Mapping[str, Any]
    solver: Mapping[str, Any]
    classifier: Mapping[str, Any]
    num: int = 200
    shown: int = 8
    seed: int = 0
    batch_size: int = 200
    device: str = "auto"
    ema: bool | float = True
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("num", "shown", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be an integer of at least 1, not {getattr(self, name)}")


def held_out_captions(settings: dict[str, Any], folder: Path) -> list[Row]:
    """Measure, write the tables, draw the figure; a row per w and kind of pair, the real data last."""
    config = Config(**check_options("the script", Config, (), settings))
    model = training.load_generative(config.run, config.ema, config.device)
    test = training.build_dataset(model.config, "test")
    chosen = {pairs: _chosen(test, pairs, config.num, config.run) for pairs in PAIRS}
    weights = weights_of(config.guidance)
    solver = solvers.registry.build_from(config.solver)
    node = training.with_models(config.guidance, model, config.ema)
    rules = {w: guidance.registry.build_from({**node, "w": w}, model) for w in weights}
    judges = {}
    for what in WHAT:
        whole = {**model.config.data, "hold_out": 0.0, "label": what}
        judges[what] = classifier_of(Setting.of(whole, config.classifier, config.device))

    def draw(w: float, rows: Tensor) -> Tensor:
        conds = model.conditions([test.captions[row] for row in rows.tolist()], len(rows))
        options = {"batch_size": config.batch_size}
        return training.samples(model.config, rules[w], len(rows), conds, solver, config.seed, **options)

    kept = Kept(folder / "held_out_captions_points.json")
    names = ("guidance", "solver", "num", "seed")
    of = {name: value for name, value in asdict(config).items() if name in names}
    of["weights"] = [digest_of_tensors(each.state_dict()) for each in (model, *judges.values())]
    rows: list[Row] = []
    for w in weights:
        for pairs, index in chosen.items():
            key = digest_of([{**of, "guidance": {**config.guidance, "w": w}}, pairs])
            if key not in kept:
                kept[key] = {"w": w, "pairs": pairs, **_right(draw(w, index), test, index, judges)}
            rows.append(kept[key])
            print("w = {w:g}, {pairs}: letter {character:.3f}, colour {colour:.3f}".format(**rows[-1]), flush=True)
    rows += [{"w": None, "pairs": pairs, **_right(test[i], test, i, judges)} for pairs, i in chosen.items()]
    _write(folder / "held_out_captions", rows, settings)

    shown = _one_of_each(test, chosen["held out"])[: config.shown]
    pictures = {w: draw(w, shown).cpu() for w in weights}
    captions = [test.captions[row] for row in shown.tolist()]
    files = drawing.save(figure(rows, pictures, captions), folder / "held_out_captions")
    print("figure:", *files)
    return rows


def _chosen(test: data.Samples, pairs: str, num: int, run: str) -> Tensor:
    """Rows of the test split with such pairs, in turn; ValueError if it has none."""
    attribute = test.attributes.get("pair")
    if test.captions is None or attribute is None:
        raise ValueError(
            f"held-out captions are those of a run on the data set glyphs, and {run} is one of {test.name}"
        )
    rows = (attribute.values == list(attribute.names).index(pairs)).nonzero()[:, 0]
    if not len(rows):
        raise ValueError(f"{test.name} has no pair that is {pairs}: train with data.hold_out=0.1")
    return rows[torch.arange(num) % len(rows)]


def _one_of_each(test: data.Samples, rows: Tensor) -> Tensor:
    """The first row of each pair of letter and colour."""
    first: dict[tuple[int, ...], int] = {}
    for row in rows.tolist():
        first.setdefault(tuple(int(test.attributes[what].values[row]) for what in WHAT), row)
    return torch.tensor(list(first.values()))


@torch.no_grad()
def _right(samples: Tensor, test: data.Samples, rows: Tensor, judges: Mapping[str, nn.Module]) -> Row:
    """The shares of samples that are the letter, the colour, and both, of the rows that were asked for."""
    found = {}
    for what, judge in judges.items():
        guess = judge.classify(judge.features(samples.to(next(judge.parameters()).device))).argmax(1).cpu()
        found[what] = guess == test.attributes[what].values[rows]
    shares = {what: float(each.double().mean()) for what, each in found.items()}
    return {**shares, "both": float((found["character"] & found["colour"]).double().mean()), "num": len(rows)}


def _write(file: Path, rows: Sequence[Row], settings: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_csv(file.with_suffix(".csv"), rows)
    file.with_suffix(".json").write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")


def figure(rows: Sequence[Row], pictures: Mapping[float, Tensor], captions: Sequence[str]) -> Any:
    """Accuracies against w on the left; samples of held-out captions on the right."""
    drawing.use_style()
    import matplotlib.pyplot as plt

    size = (drawing.PAGE, max(2.2, 0.35 * len(captions) + 0.4))
    panels, (left, right) = plt.subplots(1, 2, figsize=size, layout="constrained", width_ratios=(1, 1.5))
    for what, colour in zip(WHAT, (drawing.BLUE, drawing.RED), strict=True):
        for pairs, style in zip(PAIRS, ("--", "-"), strict=True):
            points = [row for row in rows if row["pairs"] == pairs and row["w"] is not None]
            word = {"character": "letter", "colour": "colour"}[what]
            told = {"common": "seen", "held out": "held out"}[pairs]
            values = [row[what] for row in points]
            left.plot([row["w"] for row in points], values, f"o{style}", color=colour, label=f"{word}, {told} pairs")
    left.set(xlabel="guidance weight $w$", ylabel="share of samples that are as asked", ylim=(0, 1.02))
    left.legend(loc="lower right")
    columns = list(pictures)
    picture = drawing.tile(torch.stack(list(pictures.values()), 1).flatten(0, 1), len(columns))
    right.imshow(picture.numpy(), vmin=0, vmax=1, interpolation="nearest", cmap="gray")
    high, wide = picture.shape[0] / len(captions), picture.shape[1] / len(columns)
    right.set_yticks([(row + 0.5) * high for row in range(len(captions))], captions, fontsize=6)
    right.set_xticks([(column + 0.5) * wide for column in range(len(columns))], [f"{w:g}" for w in columns])
    right.tick_params(length=0)
    right.set(xlabel="guidance weight $w$", title="captions whose pair was held out")
    right.spines[:].set_visible(False)
    return panels


if __name__ == "__main__":
    script(
        held_out_captions,
        "analysis/held_out_captions",
        example="python analysis/held_out_captions.py runs/glyphs_text_cpu",
    )
