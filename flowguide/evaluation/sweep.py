"""The samples of many guidance weights, drawn in batches that they share.

Sample i starts from the same noise at every weight, and a rule takes one weight per sample, so a batch may hold the end
of one weight's samples and the beginning of the next one's: no batch but the last is smaller than it may be. What
cannot share a batch has batches of its own: schedules, rules whose samples depend on one another, and the weights 0 and
1 of rules that need one evaluation there in place of two.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .counted import Evaluations

Name = TypeVar("Name", bound=Hashable)
Build = Callable[[Any], nn.Module]
Draw = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Swept:
    """The samples of one weight.

    Attributes:
        samples: Shape (B, *).
        evaluations: Of networks, per sample.
    """

    samples: Tensor
    evaluations: float


def sweep(
    weights: Mapping[Name, Any],
    build: Build,
    draw: Draw,
    index: Tensor,
    batch_size: int,
    advance: Callable[[int], Any] = lambda count: None,
) -> Iterator[tuple[Name, Swept]]:
    """The samples of every weight, each weight's as soon as all of them are drawn.

    Args:
        weights: By their names: numbers, or whatever ``build`` takes for one.
        build: Makes the rule of a weight, or of a tensor of weights, one per sample; or a module that holds several.
        draw: Draws the samples with the given numbers, (B,), of what was built.
        index: Numbers of the samples that are wanted of every weight, shape (N,).
        batch_size: Samples per evaluation of the field.
        advance: Called with the number of samples drawn, after every batch.
    """
    count = len(index)
    for names in groups(weights, build):
        if not count:  # of a process that has no share
            yield from ((name, Swept(draw(build(weights[name]), index), 0.0)) for name in names)
            continue
        parts: list[Tensor] = []
        spent, done = torch.zeros(len(names) * count), 0
        for rows in torch.arange(len(names) * count).split(batch_size):
            of, sample = rows.div(count, rounding_mode="floor"), rows % count
            first, last = int(of[0]), int(of[-1])
            # Weights that are all the same are a number, of which rules know more.
            w = weights[names[first]]
            if first != last:
                w = torch.tensor([float(weights[names[k]]) for k in of.tolist()])
            rule = build(w)
            with Evaluations(rule) as evaluations:
                parts.append(draw(rule, index[sample]))
            spent[rows] = evaluations.samples / len(rows)
            advance(len(rows))
            while done < len(names) and int(rows[-1]) + 1 >= (done + 1) * count:
                drawn = torch.cat(parts)
                parts = [drawn[count:]]
                yield names[done], Swept(drawn[:count], float(spent[done * count : (done + 1) * count].mean()))
                done += 1


def groups(weights: Mapping[Name, Any], build: Build) -> list[list[Name]]:
    """The weights that may share batches, together; each of the others by itself. In their order, but for that."""
    together: list[Name] = []
    found: list[list[Name]] = []
    for name, w in weights.items():
        rule = build(w)
        if _is_number(w) and _takes_many(rule) and not _needs_one_evaluation(rule, float(w)):
            if not together:
                found.append(together)
            together.append(name)
        else:
            found.append([name])
    return found


def _is_number(w: Any) -> bool:
    return isinstance(w, (int, float)) and not isinstance(w, bool)


def _takes_many(rule: nn.Module) -> bool:
    return all(getattr(part, "independent", True) for part in rule.modules())


def _needs_one_evaluation(rule: nn.Module, w: float) -> bool:
    at: Sequence[Any] = (getattr(rule, "starts_at_reference", None), getattr(rule, "conditional_at_1", None))
    return (w == 0 and bool(at[0])) or (w == 1 and bool(at[1]))
