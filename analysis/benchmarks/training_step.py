"""What a step of training costs beside the bare forward pass, backward pass and optimizer, and beside others' loops.

    pip install --no-deps torchcfm flow_matching POT      (torchcfm's loop and network, flow_matching's loop)
    python analysis/benchmarks/training_step.py [rounds=12] [batch=32] [device=cpu] [precision=float32] [compile=false]
    python analysis/benchmarks/training_step.py case=digits batch=128 only=loops,parts
    python analysis/benchmarks/training_step.py only=updates,digits

``loops``: flowguide's ``fit`` as it is, with a log and without a checkpoint, on random 3x32x32 images held as bytes.
After every step of it (after every 20 on a GPU, which must not be made to wait) its turn goes to the others, in an
order that changes: a bare step, of fixed noise and times, and the loops of torchcfm's and flow_matching's examples of
images. All train copies of one network, the U-Net of 9 M parameters of networks_unet.py; torchcfm's loop also has its
own U-Net, with the same weights. ``case=digits`` takes the data and the network of the recipe instead. The others'
loops are statements of what their examples do in a step; their data are floats already, whose conversion is theirs for
nothing. ``parts``: where the time of our steps goes. ``updates``: the optimizer and the average alone, over what one
would write first. ``digits``: the recipe, as a command.

Times are CPU time on a CPU and wall time on a GPU. Given are medians, and medians of the ratios to the bare step of the
same round. To hold: overhead of at most 5 % on a CPU and 3 % on a GPU, over forward, backward and optimizer.
"""

import copy
import importlib.util
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm import trange

import flowguide as fg
from flowguide.data import Dataset
from flowguide.training import RunFolder, TrainConfig, loop
from flowguide.training.averages import Averages
from flowguide.training.optimizers import Optimizers
from flowguide.training.options import TrainingOptions
from flowguide.training.parallel import Loss
from flowguide.training.progress import Progress

COUNT, LABELS = 4096, 10
UNETS = {
    "images": {"channels": 3, "width": 64, "multipliers": (1, 2, 2, 2), "attention": (1,)},
    "digits": {"channels": 1, "width": 32, "multipliers": (1, 2), "attention": (1,), "blocks": 1},
}
Step = Callable[[], object]


class Setting:
    """What all loops have in common.

    Args:
        words: Of the command line, ``name=value``.
    """

    def __init__(self, *words: str) -> None:
        given = {"case": "images", "rounds": "12", "batch": "32", "device": "cpu", "precision": "float32"}
        given |= {"compile": "false", "only": "loops,parts,updates,digits"}
        given |= dict(word.split("=") for word in words)
        self.rounds, self.batch = int(given["rounds"]), int(given["batch"])
        self.device, self.compile = torch.device(given["device"]), given["compile"] == "true"
        self.bfloat16 = given["precision"] == "bfloat16"
        self.case, self.only = given["case"], given["only"].split(",")
        self.gpu = self.device.type == "cuda"
        self.block = Progress.flush_every if self.gpu else 1  # steps of each in a turn
        g = torch.Generator().manual_seed(0)
        images = torch.randint(256, (COUNT, 3, 32, 32), generator=g, dtype=torch.uint8)
        labels = torch.randint(LABELS, (COUNT,), generator=g)
        random_images = Dataset("random images", images, labels, LABELS)
        self.data = fg.data.build("digits", split="train") if self.case == "digits" else random_images

    def network(self) -> nn.Module:
        """Ours, with new weights."""
        torch.manual_seed(0)
        return fg.networks.build("unet", num_classes=LABELS, **UNETS[self.case]).to(self.device)

    def cast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def now(self) -> float:
        if not self.gpu:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def fit(self, network: nn.Module, steps: int, watch: Callable[..., None]) -> None:
        """Our loop, with the settings of the recipes."""
        training = {
            "steps": steps, "batch_size": self.batch, "save_every": steps, "compile": self.compile,
            "precision": "bfloat16" if self.bfloat16 else "float32",
        }  # fmt: skip
        nodes = {"data": {"name": "digits"}, "network": {"name": "unet"}, "objective": {"name": "cfm"}}
        config = TrainConfig(**nodes, training=training, path={"name": "linear"})
        field = fg.NetworkField(network, fg.paths.build("linear"))
        # A network that cannot do without labels is not asked to: torchcfm's, and ours with its weights.
        objective = fg.objectives.build("cfm", label_dropout=0.0 if network.needs_condition else 0.1)
        data = self.data.to(self.device)
        with tempfile.TemporaryDirectory() as folder:
            run = RunFolder(folder)
            run.open(config.settings())
            loop.fit(field, objective, data, config, run, show=False, watch=watch)


def networks(setting: Setting) -> tuple[nn.Module, nn.Module | None]:
    """Our U-Net, and torchcfm's with the same weights if it is installed."""
    if setting.case == "digits" or importlib.util.find_spec("torchcfm") is None:
        return setting.network(), None
    from networks_unet import networks as both

    theirs, ours = both()
    return ours.to(setting.device), theirs.to(setting.device)


def bare(network: nn.Module, setting: Setting) -> Step:
    """Forward, backward and optimizer, of a batch that is there already."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    x, y = setting.data.to(setting.device).batch(torch.arange(setting.batch))
    target, t = torch.randn_like(x), torch.rand(len(x), device=x.device)

    def step() -> None:
        optimizer.zero_grad()
        with setting.cast():
            loss = (network(x, t, y) - target).square().mean()
        loss.backward()
        optimizer.step()

    return step


def loader(setting: Setting) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches, for ever, as both examples have them: by torch's DataLoader, from this process."""
    images, labels = setting.data.batch(torch.arange(len(setting.data)))
    shuffled = DataLoader(TensorDataset(images, labels), setting.batch, shuffle=True, drop_last=True)
    while True:
        yield from shuffled


def as_torchcfm(network: nn.Module, call: Callable[[Tensor, Tensor, Tensor], Tensor], setting: Setting) -> Step:
    """The loop of torchcfm's example, with labels."""
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

    matcher, average = ConditionalFlowMatcher(sigma=0.0), copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(step, 5000) / 5000)
    batches = loader(setting)
    bar = iter(trange(10**9, file=open("/dev/null", "w")))  # noqa: SIM115

    def step() -> None:
        next(bar)
        optimizer.zero_grad()
        data, labels = (each.to(setting.device) for each in next(batches))
        noise = torch.randn_like(data)
        t, x, velocity = matcher.sample_location_and_conditional_flow(noise, data)
        with setting.cast():
            loss = ((call(x, t, labels) - velocity) ** 2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        current, averages = network.state_dict(), average.state_dict()
        for name, tensor in averages.items():
            tensor.copy_(0.9999 * tensor + (1 - 0.9999) * current[name])

    return step


def as_flow_matching(network: nn.Module, setting: Setting) -> Step:
    """The loop of flow_matching's example of images: the loss is read in every step, labels are dropped by batches."""
    from flow_matching.path import CondOTProbPath
    from torchmetrics.aggregation import MeanMetric

    path, averages = CondOTProbPath(), [p.detach().clone() for p in network.parameters()]
    of_batch, of_epoch = (MeanMetric().to(setting.device) for _ in range(2))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.9, 0.95))
    scaler = torch.amp.GradScaler(setting.device.type, enabled=setting.gpu)
    batches = loader(setting)
    none = 0 if network.needs_condition else LABELS  # a network without a null label is shown another

    def step() -> None:
        optimizer.zero_grad()
        of_batch.reset()
        data, labels = (each.to(setting.device) for each in next(batches))
        noise, t = torch.randn_like(data), torch.rand(len(data), device=data.device)
        sample = path.sample(t=t, x_0=noise, x_1=data)
        null = torch.full_like(labels, none) if torch.rand(1) < 0.1 else labels
        with setting.cast():
            loss = (network(sample.x_t, sample.t, null) - sample.dx_t).square().mean()
        assert torch.isfinite(torch.tensor(loss.item()))
        of_batch.update(loss)
        of_epoch.update(loss)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.stack([p.grad.norm() for p in network.parameters()]).norm()
        scaler.step(optimizer)
        scaler.update()
        with torch.no_grad():
            for average, p in zip(averages, network.parameters(), strict=True):
                average.sub_((1 - 0.9999) * (average - p))

    return step


def loops(setting: Setting) -> None:
    """Print ours beside the bare step and the others."""
    ours, theirs = networks(setting)
    twins = {name: copy.deepcopy(ours) for name in ("bare", "torchcfm", "flow_matching")}
    others: dict[str, Step] = {"bare step": bare(twins["bare"], setting)}
    if importlib.util.find_spec("torchcfm") is not None:
        others["torchcfm's loop"] = as_torchcfm(twins["torchcfm"], twins["torchcfm"], setting)
    if theirs is not None:
        others["torchcfm's loop, its U-Net"] = as_torchcfm(theirs, lambda x, t, y: theirs(t, x, y), setting)
    if importlib.util.find_spec("flow_matching") is not None:
        others["flow_matching's loop"] = as_flow_matching(twins["flow_matching"], setting)
    if setting.compile:
        for network in (*twins.values(), theirs):
            network and network.compile()
    found: dict[str, list[float]] = {name: [] for name in ("flowguide's loop", *others)}
    shuffled, began = random.Random(0), 0.0

    def watch(step: int, *_: object) -> None:
        nonlocal began
        if step % setting.block or step > (setting.rounds + 2) * setting.block:
            return
        ended = setting.now()
        counts = step > 2 * setting.block  # the first turns warm up
        if counts:
            found["flowguide's loop"].append((ended - began) / setting.block)
        for name in shuffled.sample(list(others), len(others)):
            began = setting.now()
            for _ in range(setting.block):
                others[name]()
            if counts:
                found[name].append((setting.now() - began) / setting.block)
        began = setting.now()

    # One step more than is looked at: the last one writes a checkpoint.
    setting.fit(ours, (setting.rounds + 2) * setting.block + 1, watch)
    print(f"\n{'a step of':28}{'ms':>9}{'quickest':>10}   over the bare step, median (quartiles)")
    for name, seconds in found.items():
        ratios = [one / plain for one, plain in zip(seconds, found["bare step"], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        print(
            f"{name:28}{1e3 * statistics.median(seconds):9.1f}{1e3 * min(seconds):10.1f}"
            f"{statistics.median(ratios):12.3f}  ({low:.3f} to {high:.3f})"
        )


@contextmanager
def timed(places: dict[str, tuple[object, str]], now: Callable[[], float]) -> Iterator[dict[str, float]]:
    """Seconds spent in some functions, with what they call, while it is entered."""
    spent = dict.fromkeys(places, 0.0)

    def wrapped(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            began = now()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] += now() - began

        return call

    with ExitStack() as stack:
        for name, (owner, attribute) in places.items():
            stack.enter_context(patch.object(owner, attribute, wrapped(name, getattr(owner, attribute))))
        yield spent


def parts(setting: Setting) -> None:
    """Print where the time of a step goes: medians over the steps. On a GPU every part is waited for."""
    if setting.compile:
        print("\nparts: of a network that is not compiled only, since a clock inside would cut it")
        return
    network = setting.network()
    places = {
        "network": (type(network), "forward"),
        "loss": (Loss, "forward"),
        "backward": (Tensor, "backward"),
        "optimizer": (torch.optim.AdamW, "step"),
        "data": (Dataset, "batch"),
        "seeds": (torch, "manual_seed"),
        "gradients cleared": (Optimizers, "zero_grad"),
        "clipping": (nn.utils, "clip_grad_norm_"),
        "average": (Averages, "update"),
        "progress and log": (Progress, "step"),
    }
    rows: list[dict[str, float]] = []
    with timed(places, setting.now) as spent:
        began = setting.now()

        def watch(step: int, *_: object) -> None:
            nonlocal began
            rows.append({"step": setting.now() - began, **spent})
            spent.update(dict.fromkeys(spent, 0.0))
            began = setting.now()

        setting.fit(network, setting.rounds + 11, watch)
    rows = rows[10:-1]
    for row in rows:
        row["objective"] = row.pop("loss") - row["network"]
        row["all else"] = row["step"] - sum(seconds for name, seconds in row.items() if name != "step")
    needed = ("network", "backward", "optimizer")
    print(f"\n{'of a step':28}{'ms':>9}{'share':>9}   medians of {len(rows)} steps")
    for name in ("step", *sorted(rows[0].keys() - {"step"}, key=lambda name: (name not in needed, name))):
        shares = [row[name] / row["step"] for row in rows]
        print(f"{name:28}{1e3 * statistics.median(row[name] for row in rows):9.2f}{statistics.median(shares):9.2%}")
    over = [row["step"] / sum(row[name] for name in needed) - 1 for row in rows]
    low, middle, high = statistics.quantiles(over, n=4)
    print(f"overhead over network, backward and optimizer: {middle:.2%} ({low:.2%} to {high:.2%})")


def updates(setting: Setting) -> None:
    """Print what the optimizer with clipping, and the average, cost over what one would write first."""
    ours = setting.network()
    default, looped = copy.deepcopy(ours), copy.deepcopy(ours)
    x, y = setting.data.to(setting.device).batch(torch.arange(2))
    for network in (ours, default, looped):
        network(x, torch.tensor(0.5, device=x.device), y).square().mean().backward()
    options = TrainingOptions(steps=10**6)
    optimizers, averages = Optimizers(ours, options), Averages(ours, 0.999)
    adamw = torch.optim.AdamW(default.parameters())
    moving = [p.detach().clone() for p in looped.parameters()]

    def fused() -> None:
        norm = nn.utils.clip_grad_norm_(ours.parameters(), 1.0)
        optimizers.step(0, finite=norm.isfinite())

    def plain() -> None:
        nn.utils.clip_grad_norm_(default.parameters(), 1.0)
        adamw.step()

    @torch.no_grad()
    def formula() -> None:
        for average, p in zip(moving, looped.parameters(), strict=True):
            average.copy_(0.999 * average + (1 - 0.999) * p)

    def clip() -> None:
        nn.utils.clip_grad_norm_(default.parameters(), 1.0)

    calls: dict[str, Step] = {
        "AdamW, fused": lambda: optimizers.step(0, finite=torch.ones((), dtype=torch.bool, device=setting.device)),
        "AdamW, torch's default": adamw.step,
        "clipping": clip,
        "clipping and AdamW, fused": fused,
        "clipping and AdamW, default": plain,
        "average": lambda: averages.update(10**6),
        "average, by the formula": formula,
    }
    found: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(21):
        for name in random.Random(i).sample(list(calls), len(calls)):
            began = setting.now()
            for _ in range(3):
                calls[name]()
            if i:
                found[name].append((setting.now() - began) / 3)
    count = sum(p.numel() for p in ours.parameters())
    print(f"\n{'an update of':28}{'ms':>9}{'quickest':>10}   {count / 1e6:.2f} M parameters")
    for name, seconds in found.items():
        print(f"{name:28}{1e3 * statistics.median(seconds):9.2f}{1e3 * min(seconds):10.2f}")
    for one, other in (
        ("AdamW, fused", "AdamW, torch's default"),
        ("clipping and AdamW, fused", "clipping and AdamW, default"),
        ("average", "average, by the formula"),
    ):
        ratio = statistics.median(a / b for a, b in zip(found[one], found[other], strict=True))
        print(f"{one} over {other}: {ratio:.2f} median, {min(found[one]) / min(found[other]):.2f} quickest")


def digits(setting: Setting) -> None:
    """Print the samples per second that ``flowguide train digits`` says; a few times, since machines are shared."""
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            words = ("training.steps=100", "training.save_every=100", f"device={setting.device}", f"run={folder}/run")
            command = [sys.executable, "-m", "flowguide", "train", "digits", *words]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        print("\nflowguide train digits:", re.findall(r"[\d.]+ samples/s", said)[-1], end="")
    print()


def main() -> None:
    setting = Setting(*sys.argv[1:])
    device = torch.cuda.get_device_name() if setting.gpu else f"{torch.get_num_threads()} thread(s) of the CPU"
    kind = f"{'bfloat16' if setting.bfloat16 else 'float32'}{', compiled' if setting.compile else ''}"
    print(f"torch {torch.__version__}, {device}, batch {setting.batch}, {kind}")
    for name in setting.only:
        {"loops": loops, "parts": parts, "updates": updates, "digits": digits}[name](setting)


if __name__ == "__main__":
    main()
