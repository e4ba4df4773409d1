"""Cost of ``flowguide evaluate`` over that of the bare evaluations of its network.

    python analysis/benchmarks/evaluation.py runs/digits
    python analysis/benchmarks/evaluation.py runs/glyphs32 --num 512 --steps 5

A run is evaluated at eight weights, from reading its checkpoint to the table and the figure: noise, guidance, solver,
features, statistics and drawing. Every call of the network is noted, and the same calls, of batches of the same sizes,
are then made of the network alone. Rounds alternate; CPU time on a CPU, and the median counts. What is done once for a
data set, its classifier and what that sees of the reference, is done before. To hold: a ratio of 1.1.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
import quality_vs_w

import flowguide as fg
from flowguide import drawing
from flowguide.cli import recipes
from flowguide.cli.main import of_run
from flowguide.evaluation import EvaluateConfig, evaluate, write_tables

WEIGHTS = "[0,0.5,1,1.5,2,3,5,8]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="a run folder")
    parser.add_argument(
        "--num", type=int, default=None, help="samples per weight; as many as are held out if not given"
    )
    parser.add_argument("--steps", type=int, default=10, help="of the solver")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    words = of_run([given.run], "runs/digits")
    sizes = [f"num={given.num or 'null'}", f"solver.steps={given.steps}", f"guidance.w={WEIGHTS}"]
    recipes.run(lambda settings, folder: compare(settings, given.rounds), recipes.folder(), "base/evaluate",
                [*words, *sizes, "out=."])  # fmt: skip


def compare(settings: dict[str, Any], rounds: int) -> None:
    """Print both times, and their ratio."""
    config = EvaluateConfig.of(settings)
    once(EvaluateConfig.of({**settings, "num": 2, "guidance": {**settings["guidance"], "w": 1.0}}))  # what is kept
    network = fg.load(config.run, config.ema, config.device).network
    calls = noted(lambda: once(config))
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    whole, bare = [], []
    for _ in range(rounds):
        whole.append(timed(clock, lambda: once(config)))
        bare.append(timed(clock, lambda: replay(network, calls)))
    shown = sum(shape[0] for shape, _ in calls)
    a, b = statistics.median(whole), statistics.median(bare)
    ratios = sorted(x / y for x, y in zip(whole, bare, strict=True))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {next(network.parameters()).device}")
    print(f"{len(calls)} evaluations of the network, of {shown} samples in all: {b:.2f} s by themselves")
    print(f"flowguide evaluate: {a:.2f} s, {a / b:.3f} times as long ({ratios[0]:.3f} to {ratios[-1]:.3f})")


def once(config: EvaluateConfig) -> None:
    """What the command and the script do, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        rows = evaluate(config, Path(folder), show=False)
        write_tables(rows, config.metrics, Path(folder))
        if len(config.swept) > 1:
            drawing.save(quality_vs_w.figure(rows, config.metrics), Path(folder) / "quality_vs_w")


def noted(command: Callable[[], None]) -> list[tuple[torch.Size, Any]]:
    """The shape of the states and the conditions of every call of a generative network."""
    calls: list[tuple[torch.Size, Any]] = []

    def note(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        if isinstance(module, fg.networks.Network):
            calls.append((arguments[0].shape, arguments[2] if len(arguments) > 2 else None))

    hook = torch.nn.modules.module.register_module_forward_pre_hook(note)
    try:
        command()
    finally:
        hook.remove()
    return calls


@torch.no_grad()
def replay(network: torch.nn.Module, calls: list[tuple[torch.Size, Any]]) -> None:
    """The same calls of the network alone."""
    device = next(network.parameters()).device
    inputs = {shape: torch.randn(shape, device=device) for shape, _ in calls}
    t = torch.tensor(0.5, device=device)
    for shape, cond in calls:
        network(inputs[shape], t, cond)
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(clock: Callable[[], float], call: Callable[[], None]) -> float:
    """Seconds."""
    began = clock()
    call()
    return clock() - began


if __name__ == "__main__":
    main()
