"""A tiny checkpoint, made here, measured by everything at a fixed seed: the figures are those of an earlier day.

Whatever changes them on a CPU has changed data, noise, path, network, training, guidance, solver or a metric, and says
so in the change log. Processors round differently, which a hundred steps of training make no larger than the tolerance.
"""

import json
from pathlib import Path

import pytest

from flowguide.cli import main

METRICS = [
    "frechet_distance",
    "kernel_distance",
    "precision",
    "recall",
    "density",
    "coverage",
    "memorisation",
    "sliced_wasserstein",
    "mmd",
    "bits_per_dim",
]
SHARES = {"precision", "recall", "density", "coverage", "memorisation"}  # of samples, some of which are on the edge

GOLDEN: dict[float | None, dict[str, float]] = {
    1: {
        "frechet_distance": 1.9127,
        "kernel_distance": -0.00106,
        "precision": 0.1417,
        "recall": 0.8943,
        "density": 0.095,
        "coverage": 0.0369,
        "memorisation": 0.1052,
        "sliced_wasserstein": 0.08432,
        "mmd": 0.000291,
        "bits_per_dim": 2.2758,
    },
    2.5: {
        "frechet_distance": 3.3353,
        "kernel_distance": 0.02058,
        "precision": 0.2583,
        "recall": 0.4381,
        "density": 0.1783,
        "coverage": 0.0626,
        "memorisation": 0.2393,
        "sliced_wasserstein": 0.13136,
        "mmd": 0.01211,
        "bits_per_dim": 2.7141,
    },
    None: {  # real data: nothing is trained
        "frechet_distance": 0.33569,
        "kernel_distance": -0.0048018,
        "precision": 0.91086,
        "recall": 0.92559,
        "density": 1.0117,
        "coverage": 0.67524,
        "memorisation": 0.5,
        "sliced_wasserstein": 0.041974,
        "mmd": -0.00107003,
    },
}


@pytest.mark.slow
def test_figures_are_those_of_an_earlier_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWGUIDE_CACHE", str(tmp_path / "cache"))
    small = [
        "network.width=16",
        "network.multipliers=[1]",
        "network.attention=[]",
        "training.steps=250",
        "training.ema=0.95",
    ]
    main(["train", "digits", *small, "training.log=none", "training.batch_size=64", "training.learning_rate=5e-3"])
    words = ["features=identity", f"metrics=[{','.join(METRICS)}]", "num=120", "guidance.w=[1,2.5]", "seeds=[7]"]
    main(["evaluate", "runs/digits", *words, "solver=heun", "solver.steps=4", "batch_size=100"])
    content = json.loads((tmp_path / "runs" / "digits" / "evaluation" / "quality.json").read_text())
    found = {row["w"]: {name: row[name] for name in METRICS} for row in content["rows"]}
    assert found[None]["bits_per_dim"] is None  # no model is that of the real data
    assert found.keys() == GOLDEN.keys()
    for w, row in GOLDEN.items():
        for name, value in row.items():
            rel, absolute = (1e-4, 1e-6) if w is None else (0.01, 0.03 if name in SHARES else 2e-4)
            close = pytest.approx(value, rel=rel, abs=absolute)
            assert found[w][name] == close, (w, name)
    assert all(row["kernel_distance_error"] > 0 for row in content["rows"])
