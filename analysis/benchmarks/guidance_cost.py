"""Cost of a guided evaluation, over that of the bare network on a batch of twice the size.

    python analysis/benchmarks/guidance_cost.py

cfg needs two predictions: what it costs more than one call of the network on the doubled batch is overhead. An interval
that covers half of the steps of a run needs 1.5 evaluations a step in place of two. The quickest of several rounds in
turn counts. To hold, on the U-Nets: 1.02 for cfg over the doubled batch, 0.77 for the interval over full cfg.
"""

import time
from collections.abc import Callable

import torch

import flowguide as fg

ROUNDS, STEPS = 7, 10
TIME, SOLVER = torch.tensor(0.5), fg.solvers.build("euler", steps=STEPS)
# Network, shape of a batch.
CASES = {
    "U-Net, 16x1x8x8": ("unet", {"channels": 1, "width": 32, "head_width": 32}, (16, 1, 8, 8)),
    "U-Net, 256x1x8x8": ("unet", {"channels": 1, "width": 32, "head_width": 32}, (256, 1, 8, 8)),
    "U-Net, 4x3x32x32": ("unet", {"channels": 3, "width": 64, "head_width": 32}, (4, 3, 32, 32)),
    "U-Net, 16x3x32x32": ("unet", {"channels": 3, "width": 64, "head_width": 32}, (16, 3, 32, 32)),
}


def quickest(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of CPU time of each, run in turn."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            began = time.process_time()
            call()
            best[name] = min(best[name], time.process_time() - began)
    return best


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)")
    print(f"{'case':22}{'network, 2B':>14}{'cfg':>10}{'ratio':>8}{'cfg run':>12}{'interval':>12}{'ratio':>8}")
    for label, (name, options, shape) in CASES.items():
        torch.manual_seed(0)
        network = fg.networks.build(name, num_classes=10, **options).eval()
        field = fg.NetworkField(network, fg.paths.build("linear"))
        cfg = fg.guidance.build("cfg", field, w=3.0)
        half = fg.guidance.build("interval", cfg, low=0.25, high=0.75)
        x, y = torch.randn(shape), torch.arange(shape[0]) % 10
        doubled, labels = torch.cat([x, x]), torch.cat([y, torch.full_like(y, 10)])
        with torch.no_grad():
            one = quickest(
                {
                    "network": lambda n=network, x=doubled, y=labels: n(x, TIME, y),
                    "cfg": lambda f=cfg, x=x, y=y: f(x, TIME, y).velocity,
                }
            )
            run = quickest(
                {name: lambda f=f, x=x, y=y: SOLVER.solve(f, x, y) for name, f in (("cfg", cfg), ("half", half))}
            )
        print(
            f"{label:22}{1e3 * one['network']:12.1f}ms{1e3 * one['cfg']:8.1f}ms{one['cfg'] / one['network']:7.2f}x"
            f"{1e3 * run['cfg']:10.1f}ms{1e3 * run['half']:10.1f}ms{run['half'] / run['cfg']:7.2f}x"
        )


if __name__ == "__main__":
    main()
