"""What a step of training asks of a device, and what it waits for, beside a bare step and others' loops.

    pip install --no-deps torchcfm flow_matching POT      (torchcfm's loop, flow_matching's loop)
    python analysis/benchmarks/device_operations.py [case=digits] [batch=8] [steps=20]

It needs no GPU: the loops of training_step.py train on the device of tests/pretend.py, which counts. Each operation
is a kernel or a few on a GPU, some 5 microseconds each for the host that asks for it; new views cost nothing. For
whatever the host waits for, the GPU then idles until the next operation comes. Counted over a whole number of times
that flowguide reads its losses; without the clocks, these are counts, and the same on every machine.
"""

import copy
import importlib.util
import sys
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))

import pretend
from training_step import Setting, as_flow_matching, as_torchcfm, bare

from flowguide.training.progress import Progress


def main() -> None:
    given = {"case": "digits", "batch": "8", "steps": str(Progress.flush_every)}
    given |= dict(word.split("=") for word in sys.argv[1:])
    steps = int(given.pop("steps"))
    pretend.register()
    setting = Setting(*(f"{name}={value}" for name, value in given.items()), f"device={pretend.PRETEND}")
    with pretend.Pretended() as device:
        network = setting.network()
        loops = {"bare step": bare(copy.deepcopy(network), setting)}
        for name, module, loop in (
            ("torchcfm's loop", "torchcfm", lambda own: as_torchcfm(own, own, setting)),
            ("flow_matching's loop", "flow_matching", lambda own: as_flow_matching(own, setting)),
        ):
            if importlib.util.find_spec(module) is not None:
                loops[name] = loop(copy.deepcopy(network))
        found: dict[str, tuple[int, Counter]] = {}

        def count(begun: tuple[int, int]) -> tuple[int, Counter]:
            return device.operations - begun[0], Counter(device.waits[begun[1] :])

        begun = (0, 0)

        def watch(step: int, *_: object) -> None:
            nonlocal begun
            if step == steps:
                begun = (device.operations, len(device.waits))
            if step == 2 * steps:
                found["flowguide's loop"] = count(begun)

        setting.fit(network, 2 * steps + 1, watch)  # the last one writes a checkpoint
        for name, step in loops.items():
            step()
            begun = (device.operations, len(device.waits))
            for _ in range(steps):
                step()
            found[name] = count(begun)
    print(f"{'a step of':24}{'operations':>12}{'waits':>8}")
    for name, (operations, waits) in found.items():
        words = ", ".join(f"{number / steps:g} {what.removeprefix('aten::')}" for what, number in waits.items())
        print(f"{name:24}{operations / steps:12.1f}{waits.total() / steps:8.2f}   {words}")


if __name__ == "__main__":
    main()
