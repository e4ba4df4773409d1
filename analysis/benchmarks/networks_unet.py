"""Time of the ADM U-Net, over that of torchcfm's UNetModelWrapper with the same weights.

    pip install --no-deps torchcfm POT      (torchcfm asks for much that its network does not need)
    python analysis/benchmarks/networks_unet.py [batch]

The network is that of many small experiments: 3x32x32 images, 64 channels, two blocks at each of four levels,
attention at 16x16 pixels, ten labels; 8.95 million parameters. Both have the same weights, taken over by the names of
the published files, and their outputs are compared first. A training step is forward, backward and AdamW. Everything
runs in turn, in an order that is turned round every time, and the quickest of several rounds counts, in CPU time: what
else runs on a machine only ever adds to it. To hold, on one thread: 0.95 for a training step, 0.90 for a forward pass.
"""

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import flowguide as fg

ROUNDS = 9


def networks() -> tuple[nn.Module, nn.Module]:
    """torchcfm's network with random numbers in the layers that start at zero, and ours with the same."""
    try:
        from torchcfm.models.unet.unet import UNetModelWrapper
    except ImportError as error:
        sys.exit(f"networks_unet.py: {error}; pip install --no-deps torchcfm POT")

    torch.manual_seed(0)
    theirs = UNetModelWrapper(dim=(3, 32, 32), num_channels=64, num_res_blocks=2, class_cond=True, num_classes=10)
    for p in theirs.parameters():
        if not p.any():
            nn.init.normal_(p, std=0.02)
    ours = fg.pretrained.build("adm", theirs.state_dict(), heads=1, size=[32, 32]).build().network
    return theirs, ours.to(memory_format=torch.channels_last).train().requires_grad_(True)


def step(network: nn.Module, call: Callable[[], Tensor], target: Tensor) -> Callable[[], None]:
    """A training step."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def run() -> None:
        optimizer.zero_grad()
        (call() - target).square().mean().backward()
        optimizer.step()

    return run


def forward(call: Callable[[], Tensor]) -> Callable[[], None]:
    """A forward pass, without gradients."""

    def run() -> None:
        with torch.no_grad():
            call()

    return run


def quickest(calls: dict[str, Callable[[], None]], rounds: int = ROUNDS) -> dict[str, float]:
    """Seconds of CPU time of each, run in turn."""
    best = dict.fromkeys(calls, float("inf"))
    for i in range(rounds + 1):
        for name in list(calls)[:: 1 if i % 2 else -1]:
            began = time.process_time()
            calls[name]()
            if i:  # the first round warms up
                best[name] = min(best[name], time.process_time() - began)
    return best


def main() -> None:
    batch = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    theirs, ours = networks()
    g = torch.Generator().manual_seed(0)
    x, target = (torch.randn(batch, 3, 32, 32, generator=g) for _ in range(2))
    t, y = torch.rand(batch, generator=g), torch.randint(10, (batch,), generator=g)
    calls = {"torchcfm": lambda: theirs(t, x, y), "flowguide": lambda: ours(x, t, y)}
    with torch.no_grad():
        found = {name: call() for name, call in calls.items()}
    difference = (found["flowguide"] - found["torchcfm"]).abs().max() / found["torchcfm"].abs().max()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), batch {batch}")
    print(f"{sum(p.numel() for p in ours.parameters()) / 1e6:.2f} M parameters, outputs differ by {difference:.1e}")
    print(f"{'':16}{'torchcfm':>12}{'flowguide':>12}{'ratio':>8}")
    timed = {
        "training step": {
            name: step(n, calls[name], target) for name, n in (("torchcfm", theirs), ("flowguide", ours))
        },
        "forward": {name: forward(call) for name, call in calls.items()},
    }
    for what, runs in timed.items():
        seconds = quickest(runs)
        ratio = seconds["flowguide"] / seconds["torchcfm"]
        print(f"{what:16}{seconds['torchcfm']:11.3f}s{seconds['flowguide']:11.3f}s{ratio:7.3f}x", flush=True)


if __name__ == "__main__":
    main()
