"""Cost of a step on a field that costs next to nothing, x -> -x, over that of a plain hand-written loop.

    python analysis/benchmarks/solver_overhead.py

Hand-written and ours run in turn, and the quickest of several rounds counts. The hand-written loops are what one would
write: ``x = x + dt * f(x)``. To hold, with 100 steps on (4096, 2) and (64, 3, 32, 32): 1.3 and 1.0. The last rows have
no such loop and are compared with Euler's. glibc is told to keep the memory that is freed: else it may hand it back to
the system in every step, or not, as chance has it, which doubles the time of any of them.
"""

import math
import os
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

import flowguide as fg

STEPS, ROUNDS = 100, 25
SHAPES = ((4096, 2), (64, 3, 32, 32))


class Decay(fg.Field):
    """u(x) = -x."""

    def __init__(self) -> None:
        super().__init__()
        self.path = fg.paths.build("linear")

    def null(self, batch: int) -> None:
        return None

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> fg.paths.Prediction:
        return self.path.predict("velocity", -x, x, t)


def f(x: Tensor) -> Tensor:
    return -x


def euler(x: Tensor, dt: float) -> Tensor:
    return x + dt * f(x)


def midpoint(x: Tensor, dt: float) -> Tensor:
    return x + dt * f(x + dt / 2 * f(x))


def heun(x: Tensor, dt: float) -> Tensor:
    first = f(x)
    return x + dt / 2 * (first + f(x + dt * first))


def rk4(x: Tensor, dt: float) -> Tensor:
    a = f(x)
    b = f(x + dt / 2 * a)
    c = f(x + dt / 2 * b)
    return x + dt / 6 * (a + 2 * b + 2 * c + f(x + dt * c))


def dpmpp_2m(x: Tensor) -> Tensor:
    """DPM-Solver++ (2M) on rectified flow, as one would write it: a data prediction and two fused lines per step."""
    before = None
    for n in range(STEPS):
        t, s = n / STEPS, (n + 1) / STEPS
        data = x + (1 - t) * f(x)
        share = s - t * (1 - s) / (1 - t)
        if n < 2 or n == STEPS - 1:
            x = (1 - s) / (1 - t) * x + share * data
        else:
            step = math.log(s / (1 - s)) - math.log(t / (1 - t))
            last = t - 1 / STEPS
            more = step / (2 * (math.log(t / (1 - t)) - math.log(last / (1 - last))))
            x = (1 - s) / (1 - t) * x + share * ((1 + more) * data - more * before)
        before = data
    return x


def loop(step: Callable[[Tensor, float], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        for _ in range(STEPS):
            x = step(x, 1 / STEPS)
        return x

    return run


BY_HAND = {"euler": loop(euler), "midpoint": loop(midpoint), "heun": loop(heun), "rk4": loop(rk4), "dpmpp_2m": dpmpp_2m}
# Solvers with nothing so short to be compared with: over Euler's method by hand.
OTHERS = ("auto", "pec", "ab2", "unipc", "euler_maruyama")


def seconds(call: Callable[[], Tensor]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


_KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_MMAP_THRESHOLD_": str(2**25)}

if __name__ == "__main__":
    if not os.environ.keys() >= _KEEP_MEMORY.keys():  # they are read when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **_KEEP_MEMORY})
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {STEPS} steps")
    print(f"{'solver':15}{'shape':>18}{'by hand':>12}{'flowguide':>12}   us per evaluation{'ratio':>8}")
    field = Decay()
    with torch.no_grad():
        for name in (*BY_HAND, *OTHERS):
            solver, by_hand = fg.solvers.build(name, steps=STEPS), BY_HAND.get(name, BY_HAND["euler"])
            seed = {"seed": 0} if solver.stochastic else {}
            for shape in SHAPES:
                x = torch.randn(shape)
                if name in BY_HAND:
                    torch.testing.assert_close(solver.solve(field, x), by_hand(x), rtol=1e-3, atol=1e-4)
                best = [float("inf")] * 2
                for _ in range(ROUNDS):
                    best[0] = min(best[0], seconds(lambda run=by_hand, x=x: run(x)))
                    best[1] = min(
                        best[1], seconds(lambda solver=solver, x=x, seed=seed: solver.solve(field, x, **seed))
                    )
                each = STEPS if name in OTHERS else solver.evaluations
                hand, ours = 1e6 * best[0] / each, 1e6 * best[1] / solver.evaluations
                size = "x".join(map(str, shape))
                print(f"{name:15}{size:>18}{hand:12.1f}{ours:12.1f}{'':21}{ours / hand:7.2f}x")
