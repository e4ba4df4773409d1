r"""Attributes of a sample, any of which may be left open: the letter, the colour, or both.

.. math:: y = (m_1 e_{a_1}, \dots, m_K e_{a_K}), \qquad m_k \in \{0, 1\},

each attribute one-hot, and zeros if it is not told. Training leaves out each of them by itself now and then, so that
the network knows what it means that one is not given; "none given" is all of them left out.

Source: composed conditions and their absence, as Nie et al. (2021), arXiv 2110.10873, have them for energies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..data import Samples
from ..registry import unknown
from .base import Asked, Conditioner, Tell, conditioners, one_for_each


@dataclass(frozen=True)
class Layout:
    """Which entries of a condition stand for which value.

    Attributes:
        names: For each attribute, what its values are called.
        begins: The entry of its first value.
        width: Number of entries.
    """

    names: Mapping[str, Sequence[str]]
    begins: Mapping[str, int]
    width: int


@conditioners.register("attributes")
class Attributes(Conditioner):
    """Attributes of a sample, one-hot, each of which may be left open; asked for as {character: B, colour: red}.

    Args:
        names: Which attributes; null for all in which the samples to train on differ.
        dropout: Probability, for each attribute of each sample by itself, that training does not tell it, in [0, 1).
    """

    of_samples = True

    def __init__(self, names: Sequence[str] | None = None, dropout: float = 0.1) -> None:
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is a probability, at least 0 and below 1, not {dropout:g}")
        if names is not None and (not names or len(set(names)) < len(names)):
            raise ValueError(f"names lists attributes, each once, or is null for all, not {list(names)}")
        self.names, self.dropout = names, dropout
        self.width = 0

    def prepare(self, dataset: Samples) -> tuple[Samples, Tell]:
        layout = self.layout(dataset)
        self.width = layout.width
        device = dataset[torch.arange(1)].device
        entries = torch.stack([dataset.attributes[name].values + layout.begins[name] for name in layout.names], 1)
        entries = entries.to(device)  # (N, K)

        def tell(data: Tensor, rows: Tensor | None, generator: torch.Generator) -> Tensor:
            chosen = entries[rows]
            lots = torch.rand(chosen.shape, generator=generator, device=chosen.device)
            told = (lots >= self.dropout).to(data.dtype)
            return torch.zeros(len(data), layout.width, dtype=data.dtype, device=device).scatter_(1, chosen, told)

        rows = torch.arange(len(dataset), device=device)
        return replace(dataset, labels=rows, num_classes=None, classes=None), tell

    def options(self, dataset: Samples) -> dict[str, Any]:
        return {"embedding": self.layout(dataset).width}

    def null(self) -> Tensor:
        return torch.zeros(self.width)

    def layout(self, dataset: Samples) -> Layout:
        """Of the conditions, from the split to train on; ValueError if it lacks an attribute."""
        if not dataset.attributes:
            raise ValueError(f"conditioner=attributes tells attributes, and {dataset.name} has none")
        chosen = self.names
        if chosen is None:
            chosen = [name for name, each in dataset.attributes.items() if each.values.min() < each.values.max()]
        for name in chosen:
            if name not in dataset.attributes:
                raise unknown(f"attribute of {dataset.name}", name, dataset.attributes)
        if not chosen:
            raise ValueError(f"the samples of {dataset.name} differ in no attribute: name those to tell, names=[...]")
        begins, width = {}, 0
        for name in chosen:
            begins[name] = width
            width += len(dataset.attributes[name].names)
        return Layout({name: dataset.attributes[name].names for name in chosen}, begins, width)

    def held_out(self, rows: Tensor, asked: Asked) -> Tensor:
        layout, test = self.layout(asked.dataset("train")), asked.dataset("test")
        wanted = []
        for row in rows.tolist():
            of = {name: test.attributes[name] for name in layout.names if name in test.attributes}
            wanted.append({name: each.names[each.values[row]] for name, each in of.items()})
        return torch.stack([self._row(each, layout) for each in wanted])

    def ask(self, given: Any, asked: Asked) -> Tensor:
        if given is None:
            return self.held_out(torch.arange(asked.num) % len(asked.dataset("test")), asked)
        layout = self.layout(asked.dataset("train"))
        several = one_for_each(given, asked.num, "groups of attributes")
        return torch.stack([self._row(each, layout) for each in several])

    def _row(self, wanted: Any, layout: Layout) -> Tensor:
        if not isinstance(wanted, Mapping):
            first, names = next(iter(layout.names.items()))
            raise ValueError(f"this model is told attributes: cond={{{first}: {names[0]}}}, not {wanted!r}")
        row = torch.zeros(layout.width)
        for name, value in wanted.items():
            if name not in layout.names:
                raise unknown("attribute", name, layout.names)
            if str(value) not in layout.names[name]:
                raise unknown(name, value, layout.names[name])
            row[layout.begins[name] + list(layout.names[name]).index(str(value))] = 1.0
        return row
