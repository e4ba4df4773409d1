"""Trains a run in processes of its own that are killed at random moments, over and over: for test_killed.py.

Children are forks of this process, which has torch in it and one thread: so a restart takes no seconds.
"""

import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

import torch
from tiny_runs import recipe

from flowguide import training

# With a checkpoint after every step, most kills are while one is written.
SETTINGS = recipe(network__width=256, training={"steps": 400, "batch_size": 32, "save_every": 1, "ema_lengths": [0.1]})


def start(folder: Path, world: int) -> list[int]:
    """The processes that train together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            ranks = {"WORLD_SIZE": str(world), "RANK": str(rank), "LOCAL_RANK": str(rank)}
            os.environ.update({**address, **ranks} if world > 1 else {})
            training.train(SETTINGS, folder, show=False)
            os._exit(0)
        children.append(child)
    return children


def main(folder: Path, kills: int, seed: int, world: int) -> None:
    torch.set_num_threads(1)
    chance = random.Random(seed)
    for _ in range(kills):
        children = start(folder, world)
        time.sleep(chance.uniform(0.02, 0.6 if world == 1 else 2.0))
        for child in chance.sample(children, world):  # one by one, in any order: the others may see it go
            os.kill(child, signal.SIGKILL)
            time.sleep(chance.choice([0.0, 0.01]))
        for child in children:
            os.waitpid(child, 0)
    for child in start(folder, world):
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
