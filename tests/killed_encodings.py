"""Encodes in processes that are killed at random moments, over and over: for encoding/test_encode.py."""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from encoded import DATA, encoded


def start(folder: Path, autoencoder: Path) -> int:
    """A fork of this process, which has torch in it: so a restart takes no seconds."""
    child = os.fork()
    if child == 0:
        encoded(folder, autoencoder, data={**DATA, "count": 800, "test_count": 100}, shard_size=8, batch_size=4)
        os._exit(0)
    return child


def main(folder: Path, autoencoder: Path, kills: int) -> None:
    torch.set_num_threads(1)
    chance = random.Random(0)
    for _ in range(kills):
        child, written = start(folder, autoencoder), len(list(folder.glob("latents/*.safetensors")))
        while len(list(folder.glob("latents/*.safetensors"))) <= written:  # until it has written something more
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print(len(list(folder.glob("latents/*.safetensors"))))
    os.waitpid(start(folder, autoencoder), 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
