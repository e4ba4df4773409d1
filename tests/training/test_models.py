"""Noisy classifiers as runs: trained, logged, loaded with their path, and given to a rule by their folder."""

from pathlib import Path

import pytest
import torch

import flowguide as fg
from flowguide.fields import NetworkPosterior, Posterior
from flowguide.training import with_models


def settings(network: str, objective: str, **more) -> dict:
    return {
        "data": {"name": "moons", "count": 64},
        "path": {"name": "linear"},
        "network": {"name": network, "width": 8},
        "objective": {"name": objective},
        "training": {"steps": 20, "batch_size": 16},
        "device": "cpu",
        **more,
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A field, a noisy classifier on its path, one of other data, and one of clean data."""
    folder = tmp_path_factory.mktemp("runs")
    fg.training.train(settings("mlp", "cfm"), folder / "field", show=False)
    fg.training.train(settings("mlp_classifier", "noisy_classifier"), folder / "classifier", show=False)
    digits = {"data": {"name": "digits"}}
    fg.training.train(settings("mlp_classifier", "noisy_classifier", **digits), folder / "digits", show=False)
    fg.training.train(settings("convnet", "classification", **digits, path=None), folder / "clean", show=False)
    return folder


def test_a_noisy_classifier_is_a_run_that_knows_its_path(runs: Path) -> None:
    classifier = fg.load(runs / "classifier", device="cpu")
    assert isinstance(classifier, NetworkPosterior)
    assert classifier.path == fg.paths.build("linear")
    assert classifier.config.shape == [2]
    assert classifier.num_classes == 2
    # It goes on where it was, to the bit.
    longer = settings(
        "mlp_classifier", "noisy_classifier", training={"steps": 30, "batch_size": 16, "decay": "constant"}
    )
    short = {**longer, "training": {**longer["training"], "steps": 15}}
    fg.training.train(short, runs / "parts", show=False)
    parts, whole = (fg.training.train(longer, runs / name, show=False) for name in ("parts", "whole"))
    for a, b in zip(parts.parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)


def test_accuracy_by_time_is_in_the_log(runs: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(runs / "classifier" / "logs"))
    log.Reload()
    tags = set(log.Tags()["scalars"])
    assert {"loss", "accuracy/t_0_to_0.25", "accuracy/t_0.75_to_1"} <= tags
    assert all(0 <= event.value <= 1 for event in log.Scalars("accuracy/t_0.75_to_1"))
    other = EventAccumulator(str(runs / "field" / "logs"))
    other.Reload()
    assert set(other.Tags()["scalars"]) == {"loss", "gradient_norm", "learning_rate"}


def test_a_rule_takes_a_run_by_its_folder(runs: Path) -> None:
    field = fg.load(runs / "field", device="cpu")
    node = {"name": "classifier", "classifier": str(runs / "classifier"), "w": 2.0}
    resolved = with_models(node, field)
    assert node["classifier"] == str(runs / "classifier"), "the node itself stays as it is"
    rule = fg.guidance.registry.build_from(resolved, field)
    expected = fg.guidance.build("classifier", field, classifier=fg.load(runs / "classifier", device="cpu"), w=2.0)
    x, y = torch.randn(3, 2), torch.tensor([0, 1, 2])
    assert torch.equal(rule(x, 0.4, y).velocity, expected(x, 0.4, y).velocity)
    last = with_models(node, field, ema=False)["classifier"]
    assert not torch.equal(last(x, 0.4), rule.classifier(x, 0.4))
    (file,) = (runs / "classifier" / "checkpoints").iterdir()
    assert isinstance(with_models({**node, "classifier": str(file)}, field)["classifier"], Posterior)


def test_rules_within_rules_and_other_annotations(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fg.guidance.registry, "_components", dict(fg.guidance.registry._components))

    @fg.guidance.register("outer")
    class Outer(fg.guidance.Guidance):
        """A rule with a rule, a model that may be left out, and a string."""

        def __init__(self, field: fg.Field, inner: dict, weak: fg.Field | None = None, either: fg.Field | str = "x"):
            super().__init__(field)
            self.inner, self.weak, self.either = inner, weak, either

        def predict(self, x, t, cond):
            return self.field(x, t, cond)

    field = fg.load(runs / "field", device="cpu")
    inner = {"name": "classifier", "classifier": str(runs / "classifier")}
    node = {"name": "outer", "inner": inner, "weak": str(runs / "field"), "either": str(runs / "field")}
    rule = fg.guidance.registry.build_from(with_models(node, field), field)
    assert isinstance(rule.inner["classifier"], Posterior)
    assert isinstance(rule.weak, fg.NetworkField)
    assert rule.either == str(runs / "field"), "a string where strings are wanted means itself"
    assert with_models({**node, "weak": None}, field)["weak"] is None
    assert with_models({"name": "no_such_rule"}, field) == {"name": "no_such_rule"}


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (None, r"the rule classifier needs guidance.classifier: a run folder, .* holds a Posterior \(A classifier of"),
        ("nowhere", "nowhere does not exist; a run folder is what 'flowguide train' writes"),
        ("field", "field holds a NetworkField, and option 'classifier' of classifier takes a Posterior"),
        ("clean", r"clean holds a ConvNet, and option 'classifier' of classifier takes a Posterior \(A class"),
        ("digits", r"digits is of samples of shape \(1, 8, 8\), and the field to guide of \(2,\)"),
    ],
)  # fmt: skip
def test_says_what_is_wrong_with_a_run(runs: Path, run: str | None, words: str) -> None:
    field = fg.load(runs / "field", device="cpu")
    with pytest.raises(ValueError, match=words):
        with_models({"name": "classifier", "classifier": run and str(runs / run), "w": 2.0}, field)


def test_says_what_is_wrong_with_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="MLPClassifier classifies noisy states: it needs the path"):
        fg.training.train(settings("mlp_classifier", "noisy_classifier", path=None), tmp_path, show=False)
    with pytest.raises(ValueError, match="ConditionalFlowMatching trains a Field, not a NetworkPosterior"):
        fg.training.train(settings("mlp_classifier", "cfm"), tmp_path, show=False)


def test_a_weak_model_of_another_shape_is_refused(tmp_path: Path) -> None:
    """From their run folders the shapes of the states are known; a smaller network of the same shape is welcome."""
    from flowguide import training

    tiny = {"training": {"steps": 1, "batch_size": 4}, "path": {"name": "linear"}, "objective": {"name": "cfm"}}
    for name, data, width in (("strong", "moons", 8), ("weak", "moons", 4), ("other", "digits", 4)):
        network = {"name": "mlp", "width": width} if data == "moons" else {"name": "unet", "width": 8, "head_width": 8}
        training.train({**tiny, "data": {"name": data}, "network": network}, tmp_path / name, show=False)
    strong, weak, other = (fg.load(tmp_path / name, device="cpu") for name in ("strong", "weak", "other"))
    assert (strong.shape, other.shape) == ((2,), (1, 8, 8))
    fg.sample(fg.guidance.build("autoguidance", strong, weak=weak, w=2.0), (4, 2), torch.arange(4) % 2)
    with pytest.raises(ValueError, match="the weak model has"):
        fg.guidance.build("autoguidance", strong, weak=other)


@pytest.mark.parametrize(("dropout", "needs", "takes"), [(0, True, True), (0.1, False, True), (1.0, False, False)])
def test_a_run_knows_what_it_was_never_told(dropout: float, needs: bool, takes: bool, tmp_path: Path) -> None:
    """Labels that were never dropped leave the null one untrained, and labels that always were, all others."""
    run = tmp_path / "run"
    fg.training.train(
        {**settings("mlp", "cfm"), "objective": {"name": "cfm", "label_dropout": dropout}}, run, show=False
    )
    field = fg.load(run, device="cpu")
    assert (field.needs_condition, field.takes_conditions) == (needs, takes)
    assert field.network.null(3) is not None, "the network itself has one"
