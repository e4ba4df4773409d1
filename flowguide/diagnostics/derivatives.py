r"""Products of a field's Jacobian with vectors, for a whole batch at once, by reverse mode alone.

.. math:: g(u) = J^\top u, \qquad J v = \nabla_u \left[ g(u) \cdot v \right],

since g is linear in u. One evaluation of the field serves both products and every vector. Fields treat samples
independently, so that the product of a batch holds those of its samples, whatever the field keeps per sample (a weight
each, say), which a loop over samples would take apart. Reverse mode goes where ``torch.func`` does not: through rules
that take a gradient themselves, and through ``group_norm`` after a convolution in channels-last order, of which
torch 2.13 has no forward derivative.

Source: the second formula is from a note of Townsend (2017), "A new trick for calculating Jacobian vector products".
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..fields import Field
from ..probing import units

FEW = 32  # dimensions up to which a Jacobian is computed in full
_NUMBERS = 2**15  # in the states that are evaluated together: 512 images of 8 x 8
_MEMORY = 2**31  # bytes that a Jacobian may take

_SAYINGS = (
    r"derivative for '?(?:aten::)?(?P<name>\w+)",
    r"(?P<name>\w+)\(\) on Tensor that requires grad",
    r"function (?P<name>\w+) .*(?:double|twice)",
    r"once_differentiable|double backward|does not require grad|have been used in the graph|in-?place operation",
)


@contextmanager
def eagerly() -> Iterator[None]:
    """Compiled code run as it was written, with gradients recorded, and attention by the kernel that has derivatives.

    What ``torch.compile`` makes of a module cannot be differentiated twice.
    """
    stance = getattr(torch.compiler, "set_stance", None)  # torch < 2.6 has none
    with stance("force_eager") if stance else nullcontext(), sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        yield


@contextmanager
def differentiating(variable: str = "x") -> Iterator[None]:
    """What torch says of an operation without a derivative, in a sentence that names it."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        said = " ".join(str(error).split())
        found = next(filter(None, (re.search(saying, said) for saying in _SAYINGS)), None)
        if found is None:
            raise
        named = found.groupdict().get("name")
        subject = f"of the operation {named}" if named else "of an operation in it"
        raise ValueError(
            f"the field cannot be differentiated in {variable} because {subject} torch has no derivative: {said:.160}"
        ) from error


def linked(value: Tensor, variable: str = "x") -> Tensor:
    """``value``, if torch knows how it came about."""
    if not value.requires_grad:
        raise ValueError(
            f"the field cannot be differentiated in {variable}: its prediction is cut off from it, by an operation "
            f"such as detach, item, numpy or no_grad"
        )
    return value


class Linearised:
    """A function of states, (B, *) to (B, *), at one of them: its value and the products of its Jacobian.

    Args:
        function: Treats samples independently.
        x: Shape (B, *).
    """

    def __init__(self, function: Callable[[Tensor], Tensor], x: Tensor) -> None:
        self.x = x.detach().requires_grad_()
        with differentiating():
            self.output = linked(function(self.x))
        self._forward: tuple[Tensor, Tensor] | None = None

    @property
    def value(self) -> Tensor:
        return self.output.detach()

    def transposed(self, vector: Tensor, create_graph: bool = False) -> Tensor:
        """J^T v, shape (B, *)."""
        with differentiating():
            options = {"retain_graph": True, "create_graph": create_graph}
            return torch.autograd.grad(self.output, self.x, vector.expand_as(self.output), **options)[0]

    def forward(self, vector: Tensor) -> Tensor:
        """J v, shape (B, *)."""
        with differentiating():
            if self._forward is None:
                u = torch.zeros_like(self.output).requires_grad_()
                self._forward = u, torch.autograd.grad(self.output, self.x, u, create_graph=True)[0]
            u, product = self._forward
            return torch.autograd.grad(product, u, vector.expand_as(product), retain_graph=True)[0]

    def jacobian(self) -> Tensor:
        """J of each sample, shape (B, D, D), by one backward pass per dimension."""
        rows = [self.transposed(unit).flatten(1) for unit in units(self.x)]
        return torch.stack(rows, 1)


def rate(function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """The derivative of a function of one time per sample, (B,) to (B, *), shape (B, *)."""
    t = t.detach().requires_grad_()
    with differentiating("t"):
        value = linked(function(t), "t")
        u = torch.zeros_like(value).requires_grad_()
        (product,) = torch.autograd.grad(value, t, u, create_graph=True)
        return torch.autograd.grad(product, u, torch.ones_like(product))[0]


def in_full(name: str, x: Tensor, exact: bool | None, few: int = FEW) -> bool:
    """Whether to compute Jacobians in full: as told, or in few dimensions; ValueError if one would not fit."""
    dim = x[0].numel()
    memory = 2 * dim**2 * x.element_size()
    if exact and memory > _MEMORY:
        raise ValueError(
            f"{name} in exact mode would take {memory / 2**30:.1f} GiB for the Jacobian of one sample in {dim} "
            f"dimensions and the vectors it is multiplied by, and 2 is the most; exact=False estimates by random probes"
        )
    return dim <= few if exact is None else exact


def pieces(field: Field, x: Tensor, t: Tensor, cond: Tensor | None, chunk: int | None, full: bool) -> Iterator[tuple]:
    """(x, t, cond, first row) of parts of a batch that are evaluated one after the other, so that they fit memory.

    A field that keeps something per sample is not taken apart unless ``chunk``, the number of samples, says so.
    """
    if chunk is None:
        dim = x[0].numel()
        chunk = max(
            1, _NUMBERS // dim if not full else min(_NUMBERS // dim, _MEMORY // (8 * dim**2 * x.element_size()))
        )
        chunk = len(x) if keeps_rows(field) else chunk
    for start in range(0, len(x), chunk):
        rows = slice(start, start + chunk)
        yield x[rows], t[rows] if t.ndim else t, None if cond is None else cond[rows], start


def keeps_rows(field: Field) -> bool:
    """Whether a field may hold something per sample, weights or conditions: a tensor that is no parameter or buffer."""
    values = (value for module in field.modules() for value in vars(module).values())
    return any(isinstance(value, Tensor) and value.ndim > 0 for value in values)
