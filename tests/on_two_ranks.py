"""What two ranks do, in one session of torchrun, for test_ranks.py to look at: runs in the folders that it is given."""

import json
import sys
import warnings
from pathlib import Path

import torch
from tiny_runs import recipe

import flowguide as fg
from flowguide import training
from flowguide.evaluation import EvaluateConfig, evaluate, watcher
from flowguide.training import TrainConfig, ranks

NETWORK = {"name": "dit", "patch": 4, "depth": 2, "width": 32, "heads": 2}
TRAINING = {"steps": 24, "batch_size": 24, "save_every": 8, "warmup": 5, "decay": "constant", "ema": 0.9}


def settings(**more: object) -> dict:
    return recipe(data={"name": "digits"}, network=NETWORK, training={**TRAINING, **more})


JUDGE = {
    "network": {"name": "convnet", "width": 8},
    "objective": {"name": "classification"},
    "training": {"steps": 30, "batch_size": 64, "ema": 0.9},
    "seed": 0,
}
WATCH = {
    "every": 12, "num": 40, "metrics": ["frechet_distance", "inception_score"], "classifier": JUDGE,
    "solver": {"name": "euler", "steps": 2},
}  # fmt: skip


def watched(parallel: str, **more: object) -> dict:
    """A U-Net, whose weights lie with their channels innermost."""
    unet = {"name": "unet", "width": 8, "multipliers": [1, 2], "blocks": 1, "head_width": 8, "attention": [1]}
    return {**settings(parallel=parallel, **more), "network": unet, "watch": WATCH}


def evaluation(folder: Path, name: str) -> EvaluateConfig:
    """How the run of copies is evaluated, in a folder of the name."""
    return EvaluateConfig(
        run=str(folder / "ddp"), home=str(folder / "ddp"), out=str(folder / name), classifier=JUDGE, num=41,
        guidance={"name": "cfg", "w": [0.5, 2.0]}, solver={"name": "euler", "steps": 2}, batch_size=16,
        metrics=["frechet_distance", "inception_score", "precision"],
    )  # fmt: skip


def main(folder: Path) -> None:
    with ranks.joined() as here:
        training.train(settings(), folder / "ddp", show=False)
        training.train(settings(ema_lengths=[0.1], snapshot_every=12), folder / "averages", show=False)
        half = training.train(settings(parallel="fsdp", steps=16), folder / "fsdp", show=False)
        guided = fg.guidance.build("cfg", half, w=2.0)  # sampled while it is in shares
        samples = fg.sample(guided, (2, 1, 8, 8), torch.tensor([1, 2]), fg.solvers.build("euler", steps=2))
        training.train(settings(parallel="fsdp"), folder / "from_one", show=False)
        for parallel in ("ddp", "fsdp"):
            watch = watcher(WATCH, show=False)
            training.train(watched(parallel), folder / f"watched_{parallel}", show=False, watcher=watch)
        drawn = {}
        for count in (1, 7):  # fewer than ranks, and not as many on each
            drawn[count] = training.samples(
                TrainConfig.of(settings(ema=0.9) | {"shape": [1, 8, 8]}), fg.load(folder / "ddp"), count,
                torch.arange(count), fg.solvers.build("euler_maruyama", steps=3), batch_size=2, ranks=here,
            ).tolist()  # fmt: skip
        rows = evaluate(evaluation(folder, "both"), folder / "both", show=False)
        shares = sum(p.to_local().numel() for p in half.parameters())
        notes = {"shares": shares, "samples": samples.flatten()[:8].tolist(), "drawn": drawn, "rows": rows}
        for name, more in {"uneven": {"batch_size": 25}, "too many": {"batch_size": 3000}}.items():
            try:
                training.train(settings(**more), folder / name, show=False)
            except ValueError as error:
                notes[name] = str(error)
        notes["mean"] = float(here.mean(torch.tensor(float(here.rank))))
        notes["any"] = [here.any(here.rank == 1), here.any(False)]
        (folder / f"rank-{here.rank}.json").write_text(json.dumps(notes))


if __name__ == "__main__":
    warnings.simplefilter("error", FutureWarning)
    main(Path(sys.argv[1]))
