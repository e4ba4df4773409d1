"""Encodes in processes that are killed at random moments, over and over: for encoding/test_encode.py."""

import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

import torch
from encoded import DATA, encoded
from forked import finish, fork


def main(folder: Path, autoencoder: Path, kills: int, world: int) -> None:
    torch.set_num_threads(1)
    chance = random.Random(0)
    data = {**DATA, "count": 800, "test_count": 100}
    encode = partial(encoded, folder, autoencoder, data=data, shard_size=8, batch_size=4)

    def written() -> int:
        return len(list(folder.glob("latents/*.safetensors")))

    for _ in range(kills):
        before = written()
        children = fork(encode, world)
        while written() <= before:  # until there is something more
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.05))
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        print(written())
    finish(fork(encode, world))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
