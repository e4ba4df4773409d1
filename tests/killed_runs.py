"""Trains a run in a process of its own that is killed at random moments, over and over: for test_killed.py.

Children are forks of this process, which has torch in it and one thread: so a restart takes no seconds.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from tiny_runs import recipe

from flowguide import training

# With a checkpoint after every step, most kills are while one is written.
SETTINGS = recipe(network__width=256, training={"steps": 400, "batch_size": 32, "save_every": 1, "ema_lengths": [0.1]})


def main(folder: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    chance = random.Random(seed)
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            training.train(SETTINGS, folder, show=False)
            os._exit(0)
        time.sleep(chance.uniform(0.02, 0.6))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    training.train(SETTINGS, folder, show=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
