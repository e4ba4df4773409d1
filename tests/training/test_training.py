"""Training: resumed to the bit, stopped in time, and never left with half a checkpoint."""

import json
import logging
import math
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from tiny_runs import final, recipe, same, stop_after
from torch import nn

import flowguide as fg
from flowguide import objectives, training
from flowguide.training import checkpoint, loop, run_folder
from flowguide.training.averages import ExponentialAverage
from flowguide.training.batches import Order, Shards
from flowguide.training.optimizers import Optimizers
from flowguide.training.options import TrainingOptions
from flowguide.training.ranks import Ranks


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"path": {"name": "vp"}, "predicts": "noise"},
        {"path": {"name": "ddpm", "schedule": "cosine"}, "predicts": "edm", "sigma_data": 0.7},
        {
            "data": {"name": "digits"},
            "network": {"name": "unet", "width": 8, "multipliers": [1, 2], "blocks": 1, "head_width": 8, "dropout": 0.3,
                        "attention": [1]},
        },
        {
            "network": {"name": "energy", "network": {"name": "mlp", "width": 16, "depth": 1}},
            "objective": {"name": "dsm", "quasi_conservative": {"weight": 0.1, "share": 0.5}},
        },
    ],
    ids=["mlp", "vp-noise", "ddpm-edm", "unet-dropout", "energy-quasi"],
)  # fmt: skip
@pytest.mark.parametrize("step", [10, 17])
def test_an_interrupted_run_goes_on_to_the_bit(tmp_path: Path, monkeypatch, changes: dict, step: int) -> None:
    training.train(recipe(**changes), tmp_path / "whole", show=False)
    with monkeypatch.context() as patch:
        stop_after(patch, step)
        with pytest.raises(training.Interrupted, match=f"stopped after step {step} of 40; the same command goes on"):
            training.train(recipe(**changes), tmp_path / "parts", show=False)
    assert training.RunFolder(tmp_path / "parts").newest().name == f"step-{step:08d}.safetensors"
    training.train(recipe(**changes), tmp_path / "parts", show=False)
    assert same(final(tmp_path / "whole"), final(tmp_path / "parts"))


def test_a_seed_fixes_everything_and_another_changes_it(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(hash(name) % 1000)  # the global generator does not matter
        training.train(recipe(seed=seed), tmp_path / name, show=False)
    assert same(final(tmp_path / "a"), final(tmp_path / "b"))
    assert not same(final(tmp_path / "a"), final(tmp_path / "c"))


def test_the_run_folder(tmp_path: Path) -> None:
    model = training.train(recipe(), tmp_path / "run", show=False)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["network"] == {"name": "mlp", "width": 16, "depth": 1, "dim": 2, "num_classes": 2}
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0] or environment["packages"]["torch"]
    assert {"python", "revision", "platform", "command", "devices", "threads"} <= environment.keys()
    assert list((tmp_path / "run" / "logs").glob("events.*"))
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 2, "the newest two are kept, and no leftovers"

    for source in (tmp_path / "run", training.RunFolder(tmp_path / "run").newest()):
        loaded = fg.load(source)
        assert not loaded.training
        assert not any(p.requires_grad for p in loaded.parameters())
        assert same(loaded.state_dict(), model.state_dict())
    assert not same(fg.load(tmp_path / "run", ema=False).state_dict(), model.state_dict())
    x = fg.sample(fg.guidance.build("cfg", loaded, w=2.0), (4, 2), torch.tensor([0, 1, 0, 1]))
    assert x.isfinite().all()


def test_the_loss_falls(tmp_path: Path) -> None:
    objective = fg.objectives.build("cfm")
    moons = fg.data.build("moons", count=2000)

    def loss(model: nn.Module) -> float:
        g = torch.Generator().manual_seed(0)
        with torch.no_grad():
            return float(objective(model, data=moons.data, cond=moons.labels, generator=g))

    trained = training.train(recipe(training__steps=300, training__batch_size=100), tmp_path / "run", show=False)
    untrained = training.build_model(trained_config(tmp_path / "run"))
    assert loss(trained) < 0.6 * loss(untrained)


def trained_config(folder: Path) -> training.TrainConfig:
    return fg.load(folder).config


def test_a_finished_run_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    training.train(recipe(), tmp_path, show=False)
    before = final(tmp_path)
    with caplog.at_level(logging.INFO, "flowguide"):
        training.train(recipe(), tmp_path, show=False)
    assert "is trained already, to step 40 of 40" in caplog.text
    assert same(before, final(tmp_path))


def test_an_energy_network_is_kept_with_what_follows_from_the_data(tmp_path: Path) -> None:
    trained = training.train(recipe(network={"name": "energy", "network": "mlp"}), tmp_path, show=False)
    loaded = fg.load(tmp_path)
    assert loaded.config.network == {"name": "energy", "network": "mlp", "shape": [2], "num_classes": 2}
    x = torch.randn(4, 2)
    assert torch.equal(loaded(x, 0.3).velocity, trained.requires_grad_(False)(x, 0.3).velocity)
    with pytest.raises(ValueError, match=r"a unet takes images"):
        training.train(recipe(network={"name": "energy", "network": "unet"}), tmp_path / "b", show=False)


def test_the_penalty_is_logged_beside_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged = {}
    monkeypatch.setattr(
        "torch.utils.tensorboard.SummaryWriter.add_scalar",
        lambda _, name, value, step: logged.setdefault(name, {}).update({step: float(value)}),
    )
    training.train(recipe(objective__quasi_conservative=0.5), tmp_path, show=False)
    assert set(logged["asymmetry_ratio"]) == {10, 20, 30, 40}
    for step, loss in logged["loss"].items():
        assert loss == pytest.approx(logged["error"][step] + 0.5 * logged["asymmetry"][step], rel=1e-5)


def test_edm_preconditioning_is_kept_in_the_checkpoint(tmp_path: Path) -> None:
    trained = training.train(recipe(predicts="edm", sigma_data=0.8), tmp_path, show=False)
    loaded = fg.load(tmp_path)
    assert (loaded.predicts, loaded.sigma_data) == ("edm", 0.8)
    x = torch.randn(4, 2)
    assert torch.equal(loaded(x, 0.3).velocity, trained.eval()(x, 0.3).velocity)
    with pytest.raises(ValueError, match=r"holds a run with sigma_data=0.8, not None"):
        training.train(recipe(predicts="edm"), tmp_path, show=False)


def test_a_run_from_before_sigma_data_goes_on_and_loads(tmp_path: Path) -> None:
    training.train(recipe(training__steps=20), tmp_path, show=False)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del config["sigma_data"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    file = training.RunFolder(tmp_path).newest()
    checkpoint.write(file, checkpoint.read_tensors(file), {"step": 20, "config": config})
    assert fg.load(tmp_path).sigma_data is None
    training.train(recipe(), tmp_path, show=False)
    assert training.RunFolder(tmp_path).newest().name == "step-00000040.safetensors"


def test_another_configuration_is_refused_and_fresh_starts_over(tmp_path: Path) -> None:
    training.train(recipe(), tmp_path, show=False)
    with pytest.raises(ValueError, match=r"holds a run with seed=0, not 3; choose another folder .*fresh=true"):
        training.train(recipe(seed=3), tmp_path, show=False)
    with pytest.raises(ValueError, match=r"network.width=16, not 8 \(1 more: path.name\)"):
        training.train(recipe(network__width=8, path={"name": "vp"}), tmp_path, show=False)
    training.train(recipe(seed=3, fresh=True), tmp_path, show=False)
    assert fg.load(tmp_path).config.seed == 3


def test_another_configuration_is_allowed_on_request_and_what_fits_is_taken(tmp_path: Path, caplog) -> None:
    training.train(recipe(), tmp_path, show=False)
    before = final(tmp_path)
    changed = recipe(network__depth=2, data={"name": "moons", "count": 200}, training__steps=41, allow=True)
    with caplog.at_level(logging.WARNING):
        training.train(changed, tmp_path, show=False)
    words = "holds a run with data.count=100, not 200 (2 more: network.depth, samples); going on with what fits"
    assert words in caplog.text
    after = final(tmp_path)
    assert checkpoint.read_meta(training.RunFolder(tmp_path).newest())["step"] == 41
    kept, new = "model.network.enter.weight", "model.network.blocks.1.body.0.weight"
    assert (after[kept] - before[kept]).abs().max() < 2e-3, "one step from where they were"
    assert new in after
    assert new not in before
    assert fg.load(tmp_path).config.network["depth"] == 2
    assert training.RunFolder(tmp_path).config()["network"]["depth"] == 2


@pytest.mark.parametrize(
    "changes", [{"network__width": 24}, {"training__optimizer": "muon"}], ids=["another width", "another optimizer"]
)
def test_what_an_optimizer_remembers_fits_as_a_whole_or_not_at_all(tmp_path: Path, caplog, changes: dict) -> None:
    for steps, more in enumerate((changes, {}, changes), start=1):
        training.train(recipe(**more, training__steps=steps, allow=True), tmp_path, show=False)
    assert all(each.isfinite().all() for each in final(tmp_path).values())


def test_what_is_written_of_a_run_stays_where_no_step_is_taken(tmp_path: Path) -> None:
    """A finished run is what its checkpoints are, whatever is allowed."""
    training.train(recipe(), tmp_path, show=False)
    files = [tmp_path / name for name in ("config.yaml", "environment.json")]
    before = [file.read_bytes() for file in files]
    training.train(recipe(network__width=8, allow=True), tmp_path, show=False)
    assert [file.read_bytes() for file in files] == before
    training.train(recipe(), tmp_path, show=False)
    with pytest.raises(ValueError, match=r"network.width=16, not 8"):
        training.train(recipe(network__width=8), tmp_path, show=False)


@objectives.register("explodes")
class Explodes(objectives.Objective):
    """Flow matching whose loss becomes NaN in the 24th step."""

    def __init__(self, at: int = 24, times: int = 1, loss: float = math.nan) -> None:
        self.at, self.until, self.calls, self.inner = at, at + times, 0, fg.objectives.build("cfm")
        self.loss = loss

    def losses(self, model, data, cond, generator):
        self.calls += 1
        losses = self.inner.losses(model, data, cond, generator)
        if not self.at <= self.calls < self.until:
            return losses
        return losses * self.loss if math.isnan(self.loss) else losses + self.loss  # of which the gradient is finite


@pytest.mark.parametrize(("optimizer", "loss"), [("adamw", math.nan), ("muon", math.nan), ("adamw", math.inf)])
def test_steps_that_are_not_finite_are_left_out(tmp_path: Path, caplog, optimizer: str, loss: float) -> None:
    network = {"name": "dit", "patch": 4, "depth": 1, "width": 16, "heads": 2}
    settings = recipe(
        data={"name": "digits"}, network=network, objective={"name": "explodes", "times": 3, "loss": loss},
        training__skips=3, training__optimizer=optimizer, training__steps=30,
    )  # fmt: skip
    training.train(settings, tmp_path, show=False)
    assert [f"step {step} is left out: its loss is {loss:g}" in caplog.text for step in (23, 24, 25, 26, 27)] == [
        False, True, True, True, False,
    ]  # fmt: skip
    tensors = final(tmp_path)
    assert all(value.isfinite().all() for value in tensors.values())
    counts = {float(value) for name, value in tensors.items() if name.endswith(".step")}
    assert counts == {27.0}


def test_too_many_of_them_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"became nan in steps 24 to 27 .*last good checkpoint is .*step-00000020"):
        training.train(recipe(objective={"name": "explodes", "times": 9}, training__skips=3), tmp_path, show=False)


@pytest.mark.parametrize("flush_every", [1, 7, 100])
def test_a_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch, flush_every: int) -> None:
    """Named is the step itself, even where losses are read in bundles, as on a GPU."""
    monkeypatch.setattr(loop.Progress, "flush_every", flush_every)
    if flush_every > 1:
        monkeypatch.setattr(loop.Progress, "step", as_on_a_gpu)
    with pytest.raises(ValueError, match=r"loss became nan in step 24 .*last good checkpoint is .*step-00000020"):
        training.train(recipe(objective={"name": "explodes"}, training__skips=0), tmp_path, show=False)
    assert training.RunFolder(tmp_path).newest().name == "step-00000020.safetensors"
    assert all(value.isfinite().all() for value in fg.load(tmp_path).state_dict().values())


def as_on_a_gpu(self, step, loss, gradient_norm, learning_rate, report) -> None:
    self._pending.append((step, loss.detach(), gradient_norm.detach(), learning_rate, report))
    if len(self._pending) >= self.flush_every:
        self.flush()


def test_a_nan_before_the_first_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"in step 1 .*no checkpoint had been written yet.*learning_rate"):
        training.train(recipe(objective={"name": "explodes", "at": 1}, training__skips=0), tmp_path, show=False)
    with pytest.raises(ValueError, match="holds no checkpoint yet"):
        fg.load(tmp_path)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_a_truncated_checkpoint_is_named_and_the_last_good_one_offered(tmp_path: Path, caplog) -> None:
    training.train(recipe(), tmp_path / "a", show=False)
    training.train(recipe(), tmp_path / "b", show=False)
    newest = training.RunFolder(tmp_path / "b").newest()
    truncate(newest)
    with pytest.raises(ValueError, match=r"step-00000040.* is truncated .*last good checkpoint is .*step-00000030"):
        fg.load(tmp_path / "b")
    with pytest.raises(ValueError, match=r"step-00000040.safetensors is not a whole checkpoint"):
        fg.load(newest)
    training.train(recipe(), tmp_path / "b", show=False)
    assert "going on from the last good one" in caplog.text
    assert same(final(tmp_path / "a"), final(tmp_path / "b"))
    for file in training.RunFolder(tmp_path / "b").files():
        truncate(file)
    with pytest.raises(ValueError, match="there is no other checkpoint"):
        fg.load(tmp_path / "b")


def test_foreign_files(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, foreign)
    with pytest.raises(ValueError, match="is a safetensors file, but not a checkpoint written by flowguide"):
        fg.load(foreign)
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(ValueError, match="is not a whole checkpoint"):
        fg.load(tmp_path / "text.safetensors")
    checkpoint.write(foreign, {}, {"format": 99, "step": 1, "config": {}})
    with pytest.raises(ValueError, match="has checkpoint format 99; this flowguide reads format 1: a newer one wrote"):
        fg.load(foreign)
    checkpoint.write(
        foreign, {}, {"step": 1, "config": {**recipe(shape=[2]), "network": {"name": "nope"}, "imports": ["mine"]}}
    )
    with pytest.raises(ValueError, match=r"cannot be built: unknown network 'nope'.* import that first \(imports="):
        fg.load(foreign)
    checkpoint.write(foreign, {"ema.x": torch.ones(1)}, {"step": 1, "config": recipe(network__dim=2, shape=[2])})
    with pytest.raises(ValueError, match=r"does not fit its own configuration: network\..* is absent there"):
        fg.load(foreign)
    checkpoint.write(foreign, {}, {"step": 1, "config": recipe(network__dim=2)})
    with pytest.raises(ValueError, match="cannot be built: its configuration has no shape"):
        fg.load(foreign)
    checkpoint.write(foreign, {}, {"step": 1, "config": {}})
    with pytest.raises(ValueError, match="cannot be built: the recipe needs the option 'data'"):
        fg.load(foreign)


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist; a run folder is what 'flowguide train' writes"):
        fg.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"has no config\.yaml, so it is not a run folder"):
        fg.load(tmp_path)
    for text in ("- a list", "a: [", "\x00"):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"config\.yaml (is not a configuration|cannot be read)"):
            fg.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file; choose another"):
        training.train(recipe(), tmp_path / "file", show=False)


def test_a_failed_write_leaves_the_previous_checkpoint(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "step-00000001.safetensors"
    checkpoint.write(file, {"a": torch.ones(3)}, {"step": 1})

    def full(tensors: dict, part: Path, metadata: dict) -> None:
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(checkpoint.Unwritten, match="No space left"):
        checkpoint.write(file, {"a": torch.zeros(3)}, {"step": 2})
    assert checkpoint.read_meta(file)["step"] == 1
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training__steps": 0}, "training.steps must be at least 1"),
        ({"training__batch_size": 101}, "training.batch_size=101 is more than the 100 samples of moons"),
        ({"training__learning_rate": -1.0}, "training.learning_rate must be positive"),
        ({"training__clip": 0.0}, "training.clip must be positive"),
        ({"training__warmup": -1}, "training.warmup must be at least 0"),
        ({"training__ema": 1.0}, r"training.ema is a decay in \[0, 1\)"),
        ({"training__decay": "linear"}, "one of 'constant', 'cosine', 'inverse_sqrt', not 'linear'"),
        ({"training__stepz": 1}, "did you mean 'steps'"),
        ({"training": {}}, "training needs the option 'steps'"),
        ({"predicts": "eps"}, "one of 'velocity', 'score', 'noise', 'data', 'v', 'edm', not 'eps'"),
        ({"predicts": "edm", "sigma_data": 0}, "sigma_data is the standard deviation of the data, positive and finite"),
        ({"sigma_data": 0.5}, "sigma_data is for predicts='edm'; a network that predicts velocity takes none"),
        ({"seed": -1}, "a seed must be an integer from 0"),
        ({"device": "cuda:99"}, "there is no device 'cuda:99' here"),
        ({"device": "nonsense"}, "there is no device 'nonsense' here"),
        ({"data": {"name": "moonz"}}, "did you mean 'moons'"),
        ({"network": {"name": "unet"}}, "a unet takes images"),
        ({"network": {}}, "unknown network None"),
        ({"network__num_classes": 1}, r"network.num_classes=1, and moons \(train\) has 2 classes: leave it out"),
        ({"typo": 1}, "unknown option of the recipe: 'typo'"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        training.train(recipe(**changes), tmp_path / "run", show=False)


def test_every_sample_once_an_epoch_in_an_order_of_its_own() -> None:
    moons = fg.data.build("moons", count=60)
    order = Order(moons, 20, seed=1)
    epochs = [torch.cat([order[3 * epoch + i] for i in range(3)]) for epoch in range(2)]
    for epoch in epochs:
        assert epoch.sort().values.tolist() == list(range(60))
    assert not torch.equal(*epochs)
    assert torch.equal(Order(moons, 20, seed=1)[4], order[4]), "any batch is known by itself"


def test_shards_are_the_batch_and_each_has_a_seed_of_its_own() -> None:
    order = Order(fg.data.build("moons", count=60), 24, seed=1)
    for world, passes in ((1, 1), (1, 4), (2, 2), (4, 1)):
        taken = [Shards(24, passes, Ranks(rank, world), 7) for rank in range(world)]
        for step in (0, 3):
            numbers = range(step * passes, (step + 1) * passes)
            rows = torch.cat([shards.rows(order, number) for number in numbers for shards in taken])
            assert torch.equal(rows, order[step])
            seeds = [shards.seed_of(number) for number in numbers for shards in taken]
            assert len(set(seeds)) == world * passes
            of_four = [Shards(24, 4, Ranks(), 7).seed_of(4 * step + shard) for shard in range(4)]
            assert seeds == of_four[: world * passes]
    with pytest.raises(ValueError, match=r"batch_size=24 cannot be cut into 5 \(processes\) x 1 .*that can is 25"):
        Shards(24, 1, Ranks(0, 5), 0)


def test_passes_sum_to_the_gradient_of_the_batch(tmp_path: Path) -> None:
    """Without randomness in the loss, the cut makes no difference."""
    settings = recipe(objective={"name": "plain"}, training__steps=3)
    whole = training.train(settings, tmp_path / "a", show=False)
    cut = training.train(
        {**settings, "training": {**settings["training"], "accumulate": 4}}, tmp_path / "b", show=False
    )
    torch.testing.assert_close(cut.state_dict(), whole.state_dict(), rtol=1e-5, atol=1e-6)


@objectives.register("plain")
class Plain(objectives.Objective):
    """The velocity at the data is the data."""

    def losses(self, model, data, cond, generator):
        return (model(data, 0.5, cond).velocity - data).square().flatten(1).mean(1)


def test_ema() -> None:
    model = nn.Linear(3, 2)
    model.register_buffer("count", torch.zeros(1))
    ema = ExponentialAverage(model, 0.9)
    expected = model.weight.detach().clone()
    for step in range(30):
        nn.init.normal_(model.weight)
        model.count += 1
        ema.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(ema.model.weight, expected)
    assert ema.model.count == 30


def test_the_order_in_memory_changes_no_step() -> None:
    def trained(format: torch.memory_format, restore: bool) -> tuple[nn.Module, dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 1), nn.Conv2d(4, 2, 2)).to(memory_format=format)
        optimizers = Optimizers(model, TrainingOptions(steps=9, weight_decay=0.1))
        for step in range(4):
            optimizers.zero_grad()
            model(torch.randn(2, 3, 6, 6)).square().mean().backward()
            optimizers.step(step, torch.tensor(True))
            if restore:
                moments = {name: moment.clone() for name, moment in optimizers.moments().items()}
                optimizers = Optimizers(model, TrainingOptions(steps=9, weight_decay=0.1))
                optimizers.put_back(moments)
        return model, optimizers.moments()

    model, moments = trained(torch.contiguous_format, restore=False)
    shapes = {name: p.shape for name, p in model.named_parameters()}
    for restore in (False, True):
        other, others = trained(torch.channels_last, restore)
        torch.testing.assert_close(dict(other.named_parameters()), dict(model.named_parameters()))
        torch.testing.assert_close(others, moments)
        for name, moment in others.items():
            assert moment.shape in (shapes[name.rpartition(".")[0]], torch.Size())


def test_muon_leaves_what_is_frozen() -> None:
    blocks = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    blocks[0].requires_grad_(False)
    optimizers = Optimizers(nn.ModuleDict({"blocks": blocks}), TrainingOptions(steps=1, optimizer="muon"))
    blocks[1](torch.ones(1, 3)).sum().backward()
    optimizers.step(0, torch.tensor(True))
    moments = {name.removeprefix("blocks.1.") for name in optimizers.moments()}
    assert moments == {"weight.momentum_buffer", "bias.step", "bias.exp_avg", "bias.exp_avg_sq"}


def test_learning_rate() -> None:
    options = training.TrainingOptions(steps=100, learning_rate=2.0, warmup=9)
    rates = [options.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] < 2.0
    assert rates[-1] < 1e-3
    assert training.TrainingOptions(steps=100, warmup=0, decay="constant").learning_rate_at(99) == 1e-3
    root = training.TrainingOptions(steps=10**6, warmup=100, decay="inverse_sqrt")
    assert root.learning_rate_at(100) == 1e-3
    assert root.learning_rate_at(10_000) == pytest.approx(1e-4)
    late = training.TrainingOptions(steps=10**6, warmup=100, decay="inverse_sqrt", decay_from=5000)
    assert late.learning_rate_at(5000) == 1e-3
    assert late.learning_rate_at(20_000) == pytest.approx(5e-4)


def test_differences_name_what_differs() -> None:
    old, new = {"a": {"b": 1, "c": 2}, "run": "x"}, {"a": {"b": 1, "c": 3, "d": 4}, "run": "y"}
    assert run_folder._differences(old, new) == {"a.c": (2, 3), "a.d": (None, 4)}
