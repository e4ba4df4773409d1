"""Free, quasi-conservative and energy networks of equal size on moons: error, asymmetry and time per step.

    python analysis/benchmarks/conservative_networks.py [steps]

Each is trained as the recipe moons is, but smaller, from one seed. The error is the velocity's on held-out data: most
of it noise that no network can predict. The asymmetry is ||J - J^T|| / ||J|| of the exact Jacobians of the data
prediction, a ratio of averages over held-out states at each time: conditional (w = 1), and guided (cfg, w = 3).
"""

import sys
import tempfile
import time
from typing import Any

import torch
from torch import Tensor
from torch.func import jacrev, vmap

import flowguide as fg
from flowguide import training

TIMES, COUNT = (0.1, 0.5, 0.9), 2000
MLP = {"name": "mlp", "width": 64, "depth": 2}
CASES: dict[str, dict[str, Any]] = {
    "free": {},
    "quasi 1": {"objective": {"quasi_conservative": 1.0}},
    "quasi 10": {"objective": {"quasi_conservative": 10.0}},
    "quasi 10, share 1/4": {"objective": {"quasi_conservative": {"weight": 10.0, "share": 0.25}}},
    "energy": {"network": {"name": "energy", "network": MLP}},
}


def trained(case: dict[str, Any], steps: int) -> tuple[fg.Field, float]:
    """The averaged model, and seconds of CPU time per step."""
    settings = {
        "data": {"name": "moons"},
        "path": {"name": "linear"},
        "network": case.get("network", MLP),
        "objective": {"name": "cfm", **case.get("objective", {})},
        "training": {"steps": steps, "batch_size": 256, "learning_rate": 2e-3},
        "device": "cpu",
    }
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        model = training.train(settings, folder, show=False)
        return model, (time.process_time() - began) / steps


@torch.no_grad()
def error(model: fg.Field) -> float:
    """The velocity error on held-out data."""
    moons = fg.data.build("moons", split="test")
    objective, g = fg.objectives.build("cfm", label_dropout=0.0), torch.Generator().manual_seed(0)
    losses = [objective(model, data=moons.data, cond=moons.labels, generator=g) for _ in range(5)]
    return float(torch.stack(losses).mean())


def asymmetry(field: fg.Field, t: float) -> float:
    """||J - J^T|| / ||J|| of the data prediction at time t."""
    moons = fg.data.build("moons", split="test", count=COUNT)
    data, noise = moons.data.double(), torch.randn(COUNT, 2, generator=torch.Generator().manual_seed(1)).double()
    time = torch.tensor(t, dtype=torch.float64)

    def one(x: Tensor, y: Tensor) -> Tensor:
        return field(x[None], time, y[None]).data[0]

    j = vmap(jacrev(one))(field.path.interpolate(data, noise, time).x, moons.labels)
    return float((j - j.mT).norm() / j.norm())


def main(steps: int) -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {steps} steps")
    columns = [f"{name} t={t}" for name in ("w=1", "w=3") for t in TIMES]
    print(f"{'network':20}{'ms/step':>9}{'error':>9}" + "".join(f"{column:>12}" for column in columns))
    for name, case in CASES.items():
        model, seconds = trained(case, steps)
        found = error(model)
        model = model.double()
        fields = (model, fg.guidance.build("cfg", model, w=3.0))
        ratios = [asymmetry(field, t) for field in fields for t in TIMES]
        print(f"{name:20}{1e3 * seconds:9.1f}{found:9.4f}" + "".join(f"{ratio:12.1e}" for ratio in ratios), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
