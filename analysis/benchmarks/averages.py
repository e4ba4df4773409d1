"""Time that an average of the weights adds to a training step, over that of a loop over the parameters.

    python analysis/benchmarks/averages.py
    python analysis/benchmarks/averages.py cuda

Timed is one update of a network of some nine million parameters, by flowguide's averages, by loops over the parameters
as they are written, and by torch.optim.swa_utils.AveragedModel, with torch's foreach function and with one of a single
parameter. What is left is the time that the memory takes, so the same is timed for a narrow network of as many tensors.
The quickest of several rounds in turn counts. To hold: 0.3 of a loop.
"""

import sys
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import flowguide as fg
from flowguide.training.averages import ExponentialAverage, PowerAverage

ROUNDS, SECONDS = 15, 0.2
CASES = {
    "U-Net of 9 M": ("unet", {"channels": 3, "width": 72, "multipliers": (1, 2, 2), "head_width": 24}),
    "U-Net, narrow": ("unet", {"channels": 3, "width": 8, "multipliers": (1, 2, 2), "head_width": 8}),
    "DiT of 9 M": ("dit", {"channels": 3, "width": 256, "depth": 8, "heads": 4}),
}


class Loop:
    """What one would write first."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = model
        self.averages = [parameter.detach().clone() for parameter in model.parameters()]

    @torch.no_grad()
    def update(self) -> None:
        for average, parameter in zip(self.averages, self.model.parameters(), strict=True):
            average.lerp_(parameter, 1 - self.decay)


class TwoCalls(Loop):
    """The same in two calls."""

    @torch.no_grad()
    def update(self) -> None:
        for average, parameter in zip(self.averages, self.model.parameters(), strict=True):
            average.mul_(self.decay).add_(parameter, alpha=1 - self.decay)


class Expression(Loop):
    """The same as the formula is written."""

    @torch.no_grad()
    def update(self) -> None:
        for average, parameter in zip(self.averages, self.model.parameters(), strict=True):
            average.copy_(self.decay * average + (1 - self.decay) * parameter)


def quickest(calls: dict[str, Callable[[], object]], device: torch.device) -> dict[str, float]:
    """Seconds of each, run in turn."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            count, began = 0, time.perf_counter()
            while time.perf_counter() - began < SECONDS / len(calls):
                call()
                count += 1
            wait()
            best[name] = min(best[name], (time.perf_counter() - began) / count)
    return best


def main(device: torch.device) -> None:
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} thread(s)")
    for label, (name, options) in CASES.items():
        model = fg.networks.build(name, num_classes=10, **options).to(device)
        exponential, power = ExponentialAverage(model, 0.999), PowerAverage(model, 0.05)
        by_one = AveragedModel(model, avg_fn=lambda average, current, count: 0.999 * average + 0.001 * current)
        foreach = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
        times = quickest(
            {
                "loop of lerp_": Loop(model, 0.999).update,
                "loop of mul_, add_": TwoCalls(model, 0.999).update,
                "loop of d a + (1 - d) p": Expression(model, 0.999).update,
                "AveragedModel, one by one": lambda each=by_one, m=model: each.update_parameters(m),
                "AveragedModel, foreach": lambda each=foreach, m=model: each.update_parameters(m),
                "ExponentialAverage": lambda each=exponential: each.update(10**6),
                "PowerAverage": lambda each=power: each.update(10**6),
            },
            device,
        )
        parameters = list(model.parameters())
        print(f"\n{label}: {sum(p.numel() for p in parameters) / 1e6:.2f} M parameters in {len(parameters)} tensors")
        loops = [seconds for each, seconds in times.items() if each.startswith("loop")]
        print(f"{'':28}{'ms':>8}   over the loop of lerp_, of mul_ and add_, of the formula")
        for each, seconds in times.items():
            print(f"{each:28}{1e3 * seconds:8.3f}" + "".join(f"{seconds / loop:14.2f}" for loop in loops))


if __name__ == "__main__":
    main(torch.device(sys.argv[1] if len(sys.argv) > 1 else "cpu"))
