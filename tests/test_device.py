"""Everything on a device that is no host: it gives what it gives on the host, and hardly waits.

The device is one that is pretended (tests/pretend.py), and a GPU too where there is one (tests/gpu.py). What a GPU is
for is lost where every step waits for it. So whatever a run waits for, it waits for at its beginning and its end: never
more often for more steps.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import planted
import pretend
import pytest
import rules
import torch
from gpu import GPU
from pretend import PRETEND, Pretended
from solvers import problems
from tiny_runs import final, recipe
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils._pytree import tree_leaves, tree_map

import flowguide as fg
from flowguide import training
from flowguide.cli import main
from flowguide.metrics import Seen

DEVICES = {PRETEND: Pretended} if pretend.AVAILABLE else {}
DEVICES |= {"cuda": GPU} if torch.cuda.is_available() else {}
CLOSE = {PRETEND: {}, "cuda": {"rtol": 1e-3, "atol": 2e-3}}  # an adaptive solver magnifies what rounding does

pytestmark = [
    pytest.mark.parametrize("device", DEVICES),
    pytest.mark.skipif(not DEVICES, reason="no GPU, and this torch has no devices that are written in Python"),
]

# At every step: the adapters' libraries do, and rules that decide by numbers, what to evaluate or what to draw again.
WAITING = {"torchdiffeq", "torchsde", "interval", "characteristic", "smc"}
LABELS = torch.tensor([0, 1, 2, 1])


def there(given: Any, device: str) -> Any:
    """What is given, on the device."""

    def moved(each: Any) -> Any:
        return copy.deepcopy(each).to(device) if isinstance(each, nn.Module) else each.to(device)

    return tree_map(lambda each: moved(each) if isinstance(each, (Tensor, nn.Module)) else each, given)


def compare(device: str, function: Callable[..., Any], *given: Any) -> None:
    """What it gives on the device is there, and is what it gives on the host."""
    expected = tree_leaves(function(*given))
    with DEVICES[device]():
        found = tree_leaves(function(*there(given, device)))
        for a, b in zip(expected, found, strict=True):
            if isinstance(a, Tensor):
                assert b.device.type == device
                assert_close(b.cpu(), a, **CLOSE[device])
            else:
                assert a == pytest.approx(b, rel=1e-4)


def waits_of_steps(device: str, run: Callable[..., Any], *given: Any) -> list[str]:
    """What a run of 6 steps waits for that one of 3 does not; ``run`` takes their number first."""
    with DEVICES[device]() as entered:
        given = there(given, device)
        counts = []
        for steps in (3, 3, 6):  # the first time, whatever is kept is made
            before = len(entered.waits)
            run(steps, *given)
            counts.append(entered.waits[before:])
    return counts[2][len(counts[1]) :]


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_device_is_as_strict_as_a_gpu(device: str) -> None:
    host = torch.ones(3)
    with DEVICES[device]() as entered:
        x = host.to(device)
        mine, ours = torch.Generator(), torch.Generator(x.device)
        assert (x * torch.tensor(2.0)).device == x.device, "numbers of the host may meet tensors of the device"
        for wrong in (
            lambda: x + host,
            lambda: torch.stack([x[0], torch.tensor(1.0)]),
            lambda: torch.randn(3, device=device, generator=mine),
            lambda: torch.randn(3, generator=ours),
            lambda: x.numpy(),
        ):
            with pytest.raises((RuntimeError, TypeError), match="device"):
                wrong()
        before = len(entered.waits)
        host.to(device, non_blocking=True)
        x.add_(1).sum()
        assert len(entered.waits) == before
        for waiting in (
            lambda: x.sum().item(),
            lambda: bool((x > 0).all()),
            lambda: x.cpu(),
            lambda: host.to(device),
            lambda: torch.tensor(1.0, device=device),
            lambda: x[x > 0],
            lambda: x[torch.tensor([0])],
        ):
            before = len(entered.waits)
            waiting()
            assert len(entered.waits) > before
    assert torch.randn(3, generator=torch.Generator()).device.type == "cpu", "and is gone again"


@pytest.mark.parametrize("path", fg.paths.names())
def test_paths(device: str, path: str) -> None:
    field = problems.exact(path)
    x, t = planted.states(planted.toy(path), 0.5, 4), torch.linspace(0.2, 0.8, 4, dtype=torch.float64)
    compare(device, lambda x, t, y: [getattr(field(x, t, y), kind) for kind in fg.paths.KINDS], x, t, LABELS)
    compare(device, lambda x: field.path.prior((4, 2), 0, device=x.device), x)


@pytest.mark.parametrize(("name", "options"), problems.EVERY, ids=str)
def test_solvers(device: str, name: str, options: dict) -> None:
    field, x = planted.network(), planted.states(planted.toy(), 0.0, 4)

    def solve(steps: int, field: fg.Field, x: Tensor, y: Tensor) -> Tensor:
        solver = fg.solvers.build(name, steps=steps, **options)
        return solver.solve(field, x, y, **problems.seeded(solver))

    with torch.no_grad():
        compare(device, lambda *given: solve(3, *given), field, x, LABELS)
        assert name in WAITING or not waits_of_steps(device, solve, field, x, LABELS)


@pytest.mark.parametrize("name", rules.NAMES)
@pytest.mark.parametrize("each", [False, True], ids=["for all", "for each"])
def test_rules(device: str, name: str, each: bool) -> None:
    """With one weight, condition and observation for all samples, or one for each, all of them the host's."""
    field, x = planted.network(), planted.states(planted.toy(), 0.0, 4)
    options = rules.options(name, field)
    own = {"w": torch.linspace(0.2, 1.8, 4), "negative": LABELS.flip(0), "observed": torch.arange(8.0).reshape(4, 2)}
    known = fg.guidance.registry.options(name)
    options |= {key: value for key, value in (own if each else {"w": 1.7}).items() if key in known}
    rule = fg.guidance.build(name, field, **options)
    if each and not rule.independent:
        pytest.skip("its samples share what they have")

    def run(steps: int, rule: fg.Field, x: Tensor, *y: Tensor) -> Tensor:
        solver = fg.solvers.build("euler", steps=steps)
        return fg.sample(rule, tuple(x.shape), *y, solver=solver, seed=0, dtype=x.dtype)

    given = (rule, x, *(() if rules.observes(name) else (LABELS,)))
    compare(device, lambda *given: run(3, *given), *given)
    assert name in WAITING or not waits_of_steps(device, run, *given)


@pytest.mark.parametrize("name", fg.diagnostics.names())
@pytest.mark.parametrize("field", [planted.toy(), planted.network()], ids=["exact", "network"])
def test_diagnostics(device: str, name: str, field: fg.Field) -> None:
    x = planted.states(planted.toy(), 0.5, 4)
    compare(device, lambda f, x, y: planted.build(name)(f, x, 0.5, y).per_sample, field, x, torch.ones_like(LABELS))


@pytest.mark.parametrize("exact", [True, False])
def test_likelihood(device: str, exact: bool) -> None:
    x = planted.states(planted.toy(), 0.9, 4)
    compare(device, lambda f, x, y: fg.log_likelihood(f, x, y, exact=exact), planted.toy(), x, LABELS)


@pytest.mark.parametrize("name", fg.observations.names())
def test_observations(device: str, name: str) -> None:
    options = {"matrix": {"rows": [[0.5] * 16, [1.0] + 15 * [0.0]]}}.get(name, {})
    see = fg.observations.build(name, **options)

    def all_of(x: Tensor) -> list[Tensor]:
        y = see.observe(x)
        return [see(x), y, see.residual(y, x), see.transpose(y, x.shape[1:]), see.solve(y, 0.5, 0.3, x.shape[1:])]

    compare(device, all_of, images())


@pytest.mark.parametrize("name", fg.metrics.names())
@pytest.mark.filterwarnings("ignore:.* their covariance has rank:UserWarning")
def test_metrics(device: str, name: str) -> None:
    g = torch.Generator().manual_seed(0)

    def seen() -> list[Tensor]:
        return [torch.randn(40, 4, generator=g), torch.randn(40, 3, generator=g), torch.arange(40) % 3]

    def measure(ours: list[Tensor], theirs: list[Tensor]) -> float:
        reference = Seen(*theirs, held_out=Seen(*theirs))
        return fg.metrics.build(name)(Seen(*ours, bits=ours[0][:, 0]), reference)

    compare(device, measure, seen(), seen())


FAST = {"mlp", "unet", "conditional_ot"}  # all others are of the slow suite
UNET = {"name": "unet", "width": 8, "multipliers": [1, 2], "blocks": 1, "head_width": 8, "attention": [1]}
DIGITS = {"data": {"name": "digits"}, "network": UNET}
GLYPHS = {"data": {"name": "glyphs", "size": 8, "count": 60}, "network": UNET}
WORDS = {"name": "text", "encoder": "words"}
RUNS = {
    "mlp": {},
    "dsm": {"objective": {"name": "dsm", "time": "logit_normal"}, "path": {"name": "vp"}, "predicts": "edm"},
    "conditional_ot": {"objective": {"name": "cfm", "coupling": "conditional_ot"}},
    "quasi": {"objective": {"name": "cfm", "quasi_conservative": {"weight": 0.1, "share": 0.5}}},
    "energy": {"network": {"name": "energy", "network": {"name": "mlp", "width": 16, "depth": 1}}},
    "unet": {**DIGITS, "network": {**UNET, "dropout": 0.3, "checkpointing": True}},
    "ddpmpp": {**DIGITS, "network": {"name": "ddpmpp", "width": 8, "multipliers": [1, 2], "blocks": 1}},
    "dit": {**DIGITS, "network": {"name": "dit", "patch": 2, "width": 16, "depth": 1, "heads": 2}},
    "muon": {
        **DIGITS,
        "network": {"name": "dit", "patch": 2, "width": 16, "depth": 1, "heads": 2},
        "training__optimizer": "muon",
    },
    "low_resolution": {**DIGITS, "conditioner": {"name": "low_resolution", "size": 4}},
    "text": {**GLYPHS, "conditioner": WORDS},
    "tokens": {**GLYPHS, "conditioner": {**WORDS, "tokens": True, "max_length": 16}},
    "attributes": {**GLYPHS, "conditioner": {"name": "attributes"}},
    "classifier": {"data": {"name": "digits"}, "network": {"name": "convnet", "width": 8}, "path": None,
                   "objective": {"name": "classification"}},
    "noisy classifier": {"network": {"name": "mlp_classifier"}, "objective": {"name": "noisy_classifier"}},
    "autoencoder": {"data": {"name": "digits"}, "network": {"name": "autoencoder", "widths": [8, 8]}, "path": None,
                    "objective": {"name": "vae"}},
    "options": {"training__accumulate": 2, "training__ema_lengths": [0.05, 0.1], "training__precision": "bfloat16"},
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]
)
def test_training(device: str, name: str, tmp_path: Path) -> None:
    """Steps wait for nothing, but where scipy or Muon have to know numbers; dropout's masks are the device's own."""

    def train(steps: int, on: str, **more: Any) -> dict[str, Tensor]:
        changes = {"training__save_every": 100, "training__snapshot_every": 100, **RUNS[name], "device": on}
        settings = recipe(training__steps=steps, **{**changes, **more})
        folder = tmp_path / f"{on}-{steps}"
        training.train({key: value for key, value in settings.items() if value is not None}, folder, show=False)
        return final(folder)

    with DEVICES[device]() as entered:
        found = train(3, device)
        before = len(entered.waits)
        train(5, device)
        waits = entered.waits[before:]
    more = len(waits) - before
    assert more == {"conditional_ot": 2 * 2, "muon": 2}.get(name, 0), waits
    # On the device that is pretended autocasting changes nothing; a GPU has random numbers of its own.
    host = train(3, "cpu", training__precision="float32") if device == PRETEND else found
    for key, value in host.items():
        message = f"{key}: {{}}".format
        assert_close(found[key], value, rtol=1e-4, atol=1e-5, equal_nan=True, msg=message)


@pytest.mark.slow
def test_the_command_line(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is watched, sampled and measured, and one that goes on; none of it is at home on the host."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWGUIDE_CACHE", str(tmp_path / "cache"))
    small = ["training.batch_size=32", "network.width=8", "network.head_width=8", f"device={device}"]
    watch = ["watch=quality", "watch.every=10", "watch.num=50", "watch.classifier.training.steps=10"]
    measure = ["num=50", "classifier.training.steps=10", "guidance.w=[1,2]", "seeds=[0]", f"device={device}"]
    with DEVICES[device]():
        main(["train", "digits", *small, *watch, "training.steps=10", "training.ema_lengths=[0.05,0.1]"])
        main(["train", "digits", *small, *watch, "training.steps=20", "training.ema_lengths=[0.05,0.1]", "--allow"])
        main(["sample", "runs/digits", "num=4", "solver=euler_maruyama", f"device={device}"])
        main(["evaluate", "runs/digits", *measure, "metrics=[frechet_distance,label_accuracy,precision]"])
    assert list((tmp_path / "runs/digits/samples").glob("*.png"))
    assert (tmp_path / "runs/digits/evaluation/quality.json").is_file()
    assert (tmp_path / "runs/digits/best.safetensors").is_file()
