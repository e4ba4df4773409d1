"""Start-up time of the command line, over that of ``python -c 'import torch'``.

    python analysis/benchmarks/startup.py

Each command is run in a fresh interpreter, in turn with the others, and the quickest of several rounds counts: what
disturbs a measurement only ever makes it longer. To hold: ``flowguide --help`` below 0.5, ``flowguide list paths``
below 1.3.
"""

import subprocess
import sys
import time

ROUNDS = 7
FLOWGUIDE = "import sys; from flowguide.cli import main; main(sys.argv[1:])"
COMMANDS = {
    "import torch": ["import torch"],
    "flowguide --help": [FLOWGUIDE, "--help"],
    "flowguide train --help": [FLOWGUIDE, "train", "--help"],
    "flowguide list paths": [FLOWGUIDE, "list", "paths"],
    "flowguide list": [FLOWGUIDE, "list"],
}


def seconds(words: list[str]) -> float:
    """Wall time of one fresh interpreter."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    best = dict.fromkeys(COMMANDS, float("inf"))
    for _ in range(ROUNDS):
        for name, words in COMMANDS.items():
            best[name] = min(best[name], seconds(words))
    for name, value in best.items():
        print(f"{name:24}{value:8.3f} s{value / best['import torch']:8.2f} x import torch")
