"""Time of our networks over that of others with the same weights and outputs.

    python analysis/benchmarks/networks.py [batch [rounds]]

DiT-S/2 on 4x32x32, forward alone and forward with backward, beside SiT as published on timm's layers and, if it is
installed, diffusers' DiTTransformer2DModel. All run in turn, round after round, in an order that changes; each time of
others is divided by ours of the same round. Given are the median of these ratios and the quickest of each over the
quickest of ours, in CPU time. Above 1 we are the faster.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable

import torch
from network_peers import SIDE, peers
from torch import Tensor

import flowguide as fg

Call = Callable[[Tensor, Tensor, Tensor], Tensor]


def dit() -> torch.nn.Module:
    """DiT-S/2 as published, of random weights, none of them zero."""
    torch.manual_seed(0)
    network = fg.networks.build("dit", **fg.networks.registry.get("dit").presets["S/2"], time_scale=1.0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return network.eval()


def seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def measured(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, by rounds, after one round that does not count."""
    order, found = list(calls), {name: [] for name in calls}
    shuffle = random.Random(0).shuffle
    for i in range(rounds + 1):
        shuffle(order)
        for name in order:
            spent = seconds(calls[name])
            if i:
                found[name].append(spent)
    return found


def compare(networks: dict[str, Call], inputs: tuple[Tensor, ...], rounds: int) -> None:
    """Print outputs' differences, and times over those of the first."""
    ours, *others = networks
    with torch.no_grad():
        outputs = {name: network(*inputs) for name, network in networks.items()}

    def forward(network: Call) -> None:
        with torch.no_grad():
            network(*inputs)

    def backward(network: Call) -> None:
        network(*inputs).square().mean().backward()

    for kind, run in (("forward", forward), ("forward and backward", backward)):
        found = measured({name: lambda n=network, r=run: r(n) for name, network in networks.items()}, rounds)
        print(f"{kind}: {ours} {1e3 * min(found[ours]):.0f} ms")
        for name in others:
            ratios = [theirs / mine for theirs, mine in zip(found[name], found[ours], strict=True)]
            off = float((outputs[name] - outputs[ours]).abs().max() / outputs[ours].std())
            print(
                f"  {name:22}{1e3 * min(found[name]):8.0f} ms{statistics.median(ratios):8.3f}x median"
                f"{min(found[name]) / min(found[ours]):8.3f}x quickest    outputs differ by {off:.0e}"
            )


def main(batch: int, rounds: int) -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), batch {batch}, {rounds} rounds")
    network = dit()
    x, t, y = torch.randn(batch, 4, SIDE, SIDE), torch.linspace(0, 999, batch), torch.arange(batch)
    compare({"dit S/2": network, **peers(network)}, (x, t, y), rounds)


if __name__ == "__main__":
    main(*(int(word) for word in (sys.argv[1:] + ["4", "7"][len(sys.argv) - 1 :])))
