"""Runs that start from a data set instead of noise, and runs older than an option or a setting."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import flowguide as fg
from flowguide import training


def recipe(**changes: Any) -> dict[str, Any]:
    """A tiny run from eight Gaussians to moons."""
    return {
        "data": {"name": "moons", "count": 100},
        "source": {"name": "eight_gaussians", "count": 64},
        "path": {"name": "linear"},
        "network": {"name": "mlp", "width": 16, "depth": 1},
        "objective": {"name": "cfm", "coupling": "conditional_ot"},
        "training": {"steps": 20, "batch_size": 32, "save_every": 10, "warmup": 5, "ema": 0.9},
        "device": "cpu",
        **changes,
    }


def final(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(sorted((folder / "checkpoints").glob("*.safetensors"))[-1])


class Watching(fg.objectives.Objective):
    """Flow matching that keeps the batches it was given."""

    takes_source = True

    def __init__(self) -> None:
        self.inner, self.seen = fg.objectives.build("cfm"), []

    def losses(self, model, data, cond, generator, source=None):
        self.seen.append((data, source))
        return self.inner.losses(model, data, cond, generator, source)


def test_batches_of_the_source_are_a_shuffle_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Watching()
    monkeypatch.setitem(fg.objectives.registry._components, "watching", lambda: watching)
    settings = recipe(objective={"name": "watching"}, data={"name": "moons", "count": 64})
    training.train(settings, tmp_path, show=False)
    source = fg.data.build("eight_gaussians", count=64).data
    epochs = [torch.cat([start for _, start in watching.seen[2 * i : 2 * i + 2]]) for i in range(10)]
    for epoch in epochs:
        assert {tuple(row) for row in epoch.tolist()} == {tuple(row) for row in source.tolist()}
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0], source)
    # Which of the source comes with which of the data is random too.
    moons = fg.data.build("moons", count=64).data
    orders = [
        torch.cdist(torch.cat(batches), known).argmin(1)
        for batches, known in zip(zip(*watching.seen[:2], strict=True), (moons, source), strict=True)
    ]
    assert not torch.equal(*orders)


def test_a_run_with_a_source_is_resumed_to_the_bit(tmp_path: Path) -> None:
    short = {**recipe()["training"], "steps": 10, "decay": "constant"}
    long = {**short, "steps": 20}
    training.train(recipe(training=short), tmp_path / "parts", show=False)
    training.train(recipe(training=long), tmp_path / "parts", show=False)
    training.train(recipe(training=long), tmp_path / "once", show=False)
    parts, once = final(tmp_path / "parts"), final(tmp_path / "once")
    assert all(torch.equal(parts[name], once[name]) for name in once)


@pytest.mark.parametrize(("path", "scale"), [("linear", 1.0), ("ve", 80.0)])
def test_sampling_starts_from_the_held_out_source(tmp_path: Path, path: str, scale: float) -> None:
    training.train(recipe(path={"name": path}), tmp_path, show=False)
    model = fg.load(tmp_path)
    assert model.config.source == {"name": "eight_gaussians", "count": 64}
    solver = fg.solvers.build("euler", steps=1)
    labels = torch.arange(12) % 2
    drawn = training.samples(model.config, model, 12, labels, solver, seed=3, batch_size=5)
    # Each is where one of the held-out samples arrives.
    starts = scale * fg.data.build("eight_gaussians", split="test", count=64).data
    for i in range(12):
        arrived = solver.solve(model, starts, labels[i].expand(64))
        assert (arrived - drawn[i]).norm(dim=1).min() < 1e-5 * scale
    torch.testing.assert_close(training.samples(model.config, model, 12, labels, solver, seed=3), drawn)
    unconditional = training.samples(model.config, model, 3, None, solver)
    assert unconditional.shape == (3, 2)


def test_without_a_source_samples_are_those_of_noise(tmp_path: Path) -> None:
    training.train(recipe(source=None), tmp_path, show=False)
    model = fg.load(tmp_path)
    solver = fg.solvers.build("euler", steps=2)
    assert torch.equal(
        training.samples(model.config, model, 6, None, solver, 1), fg.sample(model, (6, 2), None, solver, 1)
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": {"name": "moonz"}}, "did you mean 'moons'"),
        ({"source": {"name": "digits"}}, r"source must have the shape of data, \(1, 2\)"),
        ({"source": {"name": "moons", "count": 8}}, "training.batch_size=32 is more than the 8 samples of moons"),
        ({"source": "moons"}, "option 'source' of the recipe must be a group of settings or null, not 'moons'"),
        ({"objective": {"name": "dsm"}}, "DenoisingScoreMatching takes no source"),
        ({"objective": {"name": "classification"}}, "Classification takes no source"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        training.train(recipe(**changes), tmp_path / "run", show=False)


def test_a_run_older_than_a_setting_or_an_option_goes_on(tmp_path: Path) -> None:
    """Neither ``source`` nor the objective's ``time`` and ``coupling`` were there once: absent is their default."""
    plain = recipe(source=None, objective={"name": "cfm", "time": "uniform"})
    training.train(plain, tmp_path, show=False)
    file = tmp_path / "config.yaml"
    old = yaml.safe_load(file.read_text())
    del old["source"], old["objective"]["time"]
    file.write_text(yaml.safe_dump(old))
    training.train(plain, tmp_path, show=False)
    with pytest.raises(ValueError, match=r"holds a run with objective.coupling=None, not ot"):
        training.train(recipe(source=None, objective={"name": "cfm", "coupling": "ot"}), tmp_path, show=False)
    with pytest.raises(ValueError, match=r"holds a run with .*source"):
        training.train({**plain, "source": {"name": "moons"}}, tmp_path, show=False)
