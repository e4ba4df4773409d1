"""Ranks that are forks of this process, to be killed: for killed_runs.py and killed_encodings.py.

This process has torch in it and one thread, so a restart takes no seconds.
"""

import os
import random
import socket
from collections.abc import Callable

# Below those that the kernel gives to connections: gloo of another test opens many, and one of them could get it
# between the moment that a port is found to be free and the moment that rank 0 listens on it.
_PORTS = range(15000, 30000)


def fork(work: Callable[[], object], world: int) -> list[int]:
    """Does the work in so many processes, which find each other as under torchrun; their ids."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            ranks = {"WORLD_SIZE": str(world), "RANK": str(rank), "LOCAL_RANK": str(rank)}
            os.environ.update({**address, **ranks} if world > 1 else {})
            work()
            os._exit(0)
        children.append(child)
    return children


def free_port() -> int:
    """A port that nothing listens on, another one in every process."""
    of_its_own = random.Random(os.urandom(8))
    while True:
        with socket.socket() as probe:
            port = of_its_own.choice(_PORTS)
            if probe.connect_ex(("127.0.0.1", port)):
                return port


def finish(children: list[int]) -> None:
    """Wait for all of them; AssertionError unless each ended well."""
    ends = [os.waitpid(child, 0)[1] for child in children]
    assert not any(ends), f"the ranks ended with the statuses {ends}"
