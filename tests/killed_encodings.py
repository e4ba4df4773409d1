"""Encodes in processes that are killed at random moments, over and over: for encoding/test_encode.py.

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
from encoded import DATA, encoded


def start(folder: Path, autoencoder: Path, world: int) -> list[int]:
    """The processes that encode together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            ranks = {"WORLD_SIZE": str(world), "RANK": str(rank), "LOCAL_RANK": str(rank)}
            os.environ.update({**address, **ranks} if world > 1 else {})
            encoded(folder, autoencoder, data={**DATA, "count": 800, "test_count": 100}, shard_size=8, batch_size=4)
            os._exit(0)
        children.append(child)
    return children


def main(folder: Path, autoencoder: Path, kills: int, world: int) -> None:
    torch.set_num_threads(1)
    chance = random.Random(0)
    for _ in range(kills):
        written = len(list(folder.glob("latents/*.safetensors")))
        children = start(folder, autoencoder, world)
        while len(list(folder.glob("latents/*.safetensors"))) <= written:  # until there is something more
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.05))
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        print(len(list(folder.glob("latents/*.safetensors"))))
    for child in start(folder, autoencoder, world):
        _, status = os.waitpid(child, 0)
        assert status == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
