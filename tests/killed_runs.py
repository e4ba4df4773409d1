"""Trains a run in processes of its own that are killed at random moments, over and over: for test_killed.py."""

import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

import torch
from forked import finish, fork
from tiny_runs import recipe

from flowguide import training

# With a checkpoint after every step, most kills are while one is written.
SETTINGS = recipe(network__width=256, training={"steps": 400, "batch_size": 32, "save_every": 1, "ema_lengths": [0.1]})


def main(folder: Path, kills: int, seed: int, world: int) -> None:
    torch.set_num_threads(1)
    chance = random.Random(seed)
    train = partial(training.train, SETTINGS, folder, show=False)
    for _ in range(kills):
        children = fork(train, world)
        time.sleep(chance.uniform(0.02, 0.6 if world == 1 else 2.0))
        for child in chance.sample(children, world):  # one by one, in any order: the others may see it go
            os.kill(child, signal.SIGKILL)
            time.sleep(chance.choice([0.0, 0.01]))
        for child in children:
            os.waitpid(child, 0)
    finish(fork(train, world))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
