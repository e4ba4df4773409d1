"""Cost of a step on a field that costs next to nothing, x -> -x, over that of a plain hand-written loop.

    python analysis/benchmarks/solver_overhead.py

Hand-written and ours run in turn, and the quickest of several rounds counts. The hand-written loops are what one would
write: ``x = x + dt * f(x)``. To hold, for Euler with 100 steps on (4096, 2) and (64, 3, 32, 32): 1.3 and 1.0.
"""

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


BY_HAND = {"euler": euler, "midpoint": midpoint, "heun": heun, "rk4": rk4}


def loop(step: Callable[[Tensor, float], Tensor], x: Tensor) -> Tensor:
    for _ in range(STEPS):
        x = step(x, 1 / STEPS)
    return x


def seconds(call: Callable[[], Tensor]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {STEPS} steps")
    print(f"{'solver':10}{'shape':>18}{'by hand':>12}{'flowguide':>12}   us per evaluation{'ratio':>8}")
    field = Decay()
    with torch.no_grad():
        for name, step in BY_HAND.items():
            solver = fg.solvers.build(name, steps=STEPS)
            for shape in SHAPES:
                x = torch.randn(shape)
                torch.testing.assert_close(solver.solve(field, x), loop(step, x), rtol=1e-4, atol=1e-5)
                best = [float("inf")] * 2
                for _ in range(ROUNDS):
                    best[0] = min(best[0], seconds(lambda step=step, x=x: loop(step, x)))
                    best[1] = min(best[1], seconds(lambda solver=solver, x=x: solver.solve(field, x)))
                hand, ours = (1e6 * value / solver.evaluations for value in best)
                size = "x".join(map(str, shape))
                print(f"{name:10}{size:>18}{hand:12.1f}{ours:12.1f}{'':21}{ours / hand:7.2f}x")
