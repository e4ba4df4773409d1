"""What of a condition depends on neither x nor t is computed once per sampling run, whatever the rule."""

import pytest
import torch
from rules import NAMES, build, weighted

import flowguide as fg


def network_field(name: str = "mlp") -> fg.NetworkField:
    torch.manual_seed(0)
    options = {"unet": {"channels": 1, "width": 8, "head_width": 8}, "mlp": {"dim": 2, "width": 16}}[name]
    network = fg.networks.build(name, num_classes=3, **options)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return fg.NetworkField(network, fg.paths.build("linear")).eval().requires_grad_(False)


def encodings(field: fg.NetworkField) -> list[int]:
    """The batches of conditions that its network encodes from now on."""
    seen: list[int] = []
    honest = field.network.embed.encode

    def encode(cond):
        if not isinstance(cond, fg.networks.Encoded):
            seen.append(len(cond))
        return honest(cond)

    field.network.embed.encode = encode
    return seen


def run(name: str, field: fg.Field, steps: int, **more) -> torch.Tensor:
    given = {"track": True, "log_ratio": None} if name == "feedback" else {"w": 2.0} if weighted(name) else {}
    rule = build(name, field, **{**given, **more})
    solver = fg.solvers.build("ddim", steps=steps, t_end=0.95)
    return fg.sample(rule, (6, 2), torch.arange(6) % 3, solver, seed=1)


# One draws other labels at every step; the classifier's field has no conditions.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "independent_condition"])
@pytest.mark.parametrize("batched", [None, True, False])
def test_conditions_are_encoded_once_per_run(name: str, batched: bool | None) -> None:
    more = {}
    if batched is not None:
        if "batched" not in fg.guidance.registry.options(name):
            return
        more["batched"] = batched
    if name == "multi":
        more["labels"] = [1, 0]
    counts = []
    for steps in (4, 9):
        field = network_field()
        seen = encodings(field)
        run(name, field, steps, **more)
        assert set(seen) == {6}
        counts.append(len(seen))
    assert counts[0] == counts[1] <= (4 if name == "multi" else 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_has_the_numbers_of_a_network_that_encodes_nothing(name: str) -> None:
    encoding, plain = run(name, network_field(), 5), network_field()
    plain.network.encode = lambda cond: cond  # as of a network that says nothing of it
    torch.testing.assert_close(encoding, run(name, plain, 5), rtol=1e-5, atol=1e-5)


def test_a_run_that_changes_its_conditions_is_not_answered_with_old_ones() -> None:
    """Tensors come and go; only one that is the same object has been encoded."""
    field = network_field()
    fresh = field.for_run(fg.fields.Run(torch.linspace(0, 1, 3), None))
    x = torch.randn(6, 2)
    for i in range(40):
        y = (torch.arange(6) + i) % 4
        assert torch.equal(fresh(x, 0.5, y).velocity, field(x, 0.5, y).velocity)
    assert torch.equal(fresh(x, 0.5).velocity, field(x, 0.5).velocity)
    assert torch.equal(fresh(x[:2], 0.5).velocity, field(x[:2], 0.5).velocity)


def test_a_label_that_is_none_of_the_classes_is_named_in_a_run_too() -> None:
    fresh = network_field().for_run(fg.fields.Run(torch.linspace(0, 1, 3), None))
    with pytest.raises(ValueError, match="label 7 is not one of the 3 classes"):
        fresh(torch.zeros(1, 2), 0.5, torch.tensor([7]))
