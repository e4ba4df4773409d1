"""A device that is no host: its numbers lie in the host's memory, and all else is as on a GPU.

Tensors on it and on the host may not meet in one operation, generators are of one or the other, numpy cannot read it,
and whatever makes the host wait for it is written down: reading a number, and copying to it without ``non_blocking``.
Arithmetic is the host's, so that what is computed there can be compared with what is computed here, to the bit.

>>> with Pretended() as device:
...     x = torch.randn(3, device=PRETEND)
...     (x + x).sum().item()
...     device.waits
['aten::_local_scalar_dense']
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _foreach_utils as foreach
from torch.utils import backend_registration as backends
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

PRETEND = "pretend"
# Not beside a GPU: there autograd asks every device for its streams, of which this one has none.
AVAILABLE = hasattr(backends, "_setup_privateuseone_for_python_backend") and not torch.cuda.is_available()

aten = torch.ops.aten
# Operations whose result is a number on the host, or has a shape that depends on numbers.
_READING = {
    getattr(aten, name).default
    for name in ("_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2", "unique_dim", "bincount")
}
_COPYING = {aten._to_copy.default, aten.copy_.default}
# What GPUs take indices of the host for, and numbers of the host beside tensors of theirs.
_INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
_NUMBERS = {aten.where.self, aten.fill_.Tensor, aten.lerp.Scalar, aten.linalg_vector_norm.default}


def _there(device: Any) -> bool:
    return device is not None and torch.device(device).type == PRETEND


class _Backend(backends._DummyBackendModule if AVAILABLE else object):
    def is_available(self) -> bool:
        return Pretended.now is not None  # beyond, what looks for an accelerator is not to find one

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


_kept: list[torch.library.Library] = []  # what torch forgets with the object


def register() -> None:
    """Tell torch of the device; once in a process, before its first backward pass."""
    backends._setup_privateuseone_for_python_backend(PRETEND, _Backend())
    library = torch.library.Library("_", "IMPL")
    library.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")  # there is nothing to cast to
    _kept.append(library)
    foreach._foreach_supported_types.append(There)  # as on a GPU, lists of tensors are updated all at once


_OfTorch = torch.Generator
_devices: dict[int, torch.device] = {}  # of generators, by what they are to torch, which forgets its subclasses


class Generator(_OfTorch):
    """The host's, which says that it is of a device."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        made = super().__new__(cls, "cpu")
        made.named = _devices[made._cdata] = torch.device(device)
        return made

    def __init__(self, device: Any = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:
        return self.named


class There(Tensor):
    """A tensor on the device; ``here`` are its numbers."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "There":
        options = {"strides": here.stride(), "storage_offset": here.storage_offset(), "dtype": here.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, here.shape, device=torch.device(PRETEND, 0), **options)
        made.here = here
        return made

    def __repr__(self) -> str:
        return f"There({self.here!r})"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *args: Any, **options: Any) -> Any:
        raise TypeError("numpy cannot read a tensor of another device; copy it to the host first")

    __array__ = numpy

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Sequence = (), kwargs: Mapping | None = None) -> Any:
        return _run(func, args, dict(kwargs or {}))


class Pretended(TorchDispatchMode):
    """While it is entered there is a device "pretend".

    Attributes:
        waits: The operations for which the host waited, in their order.
        operations: How many it was asked to do, but for new views of what is there.
    """

    now: ClassVar["Pretended | None"] = None

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.operations = 0
        self._stack = ExitStack()

    def __enter__(self) -> "Pretended":
        Pretended.now = self
        torch.Generator = Generator
        self._stack.enter_context(_Made())
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._stack.close()
        torch.Generator = _OfTorch
        Pretended.now = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence = (), kwargs: Mapping | None = None) -> Any:
        return _run(func, args, dict(kwargs or {}))


class _Made(TorchFunctionMode):
    """Tensors and indices of Python's numbers are made on the host and copied, as GPUs have them."""

    def __torch_function__(self, func: Callable, types: Any, args: Sequence = (), kwargs: Mapping | None = None) -> Any:
        kwargs = dict(kwargs or {})
        number = args and not isinstance(args[0], Tensor)
        if func in (torch.tensor, torch.as_tensor) and number and _there(kwargs.get("device")):
            return func(*args, **{**kwargs, "device": "cpu"}).to(kwargs["device"])
        if func is Tensor.new_tensor and isinstance(args[0], There):
            return torch.tensor(args[1], **{"dtype": args[0].dtype, **kwargs}).to(PRETEND)
        if func is Tensor.__getitem__ and isinstance(args[1], list):
            return args[0][torch.tensor(args[1])]
        return func(*args, **kwargs)


def _run(func: Any, args: Sequence, kwargs: dict[str, Any]) -> Any:
    """An operation: checked, noted if the host waits for it, and done by the host."""
    leaves = tree_leaves((args, kwargs))
    there = [each for each in leaves if isinstance(each, There)]
    here = [each for each in leaves if isinstance(each, Tensor) and not isinstance(each, There)]
    wanted = kwargs.get("device")
    result_there = _there(wanted) or (bool(there) and wanted is None)
    if func is aten.copy_.default:
        result_there = isinstance(args[0], There)
    generators = [each for each in leaves if isinstance(each, _OfTorch)]
    if any(_there(_devices.get(each._cdata)) != (_there(wanted) or bool(there)) for each in generators):
        raise RuntimeError(f"{func}: a generator of another device than the tensors'")
    if there and here and func not in _COPYING:
        _check(func, here)
    if _waits(func, args, kwargs, there, here, result_there):
        Pretended.now.waits.append(func.name())
    Pretended.now.operations += (bool(there) or result_there) and not _is_view(func)
    on_host = tree_map_only(There, lambda each: each.here, (args, kwargs))
    if wanted is not None:
        on_host[1]["device"] = torch.device("cpu") if _there(wanted) else wanted
    if func is aten._efficientzerotensor.default:  # has no numbers that an operation could be given
        func = aten.zeros.default
    result = func(*on_host[0], **on_host[1])
    if not result_there:
        return args[0] if func is aten.copy_.default else result
    return return_and_correct_aliasing(func, args, kwargs, tree_map_only(Tensor, There, result))


def _check(func: Any, here: Sequence[Tensor]) -> None:
    numbers = all(each.ndim == 0 for each in here)
    if func in _INDEXED or (numbers and (torch.Tag.pointwise in func.tags or func in _NUMBERS)):
        return
    shapes = [tuple(each.shape) for each in here]
    raise RuntimeError(f"{func}: all tensors must be on one device, and those of shapes {shapes} are on the host")


def _is_view(func: Any) -> bool:
    """Whether it gives what was there under another shape, or room without numbers: nothing is computed."""
    aliases = [each.alias_info for each in func._schema.returns]
    return func.name().startswith("aten::empty") or any(each is not None and not each.is_write for each in aliases)


def _waits(func: Any, args: Sequence, kwargs: Mapping, there: Sequence, here: Sequence, result_there: bool) -> bool:
    if func in _COPYING:
        crosses = result_there != isinstance(args[1 if func is aten.copy_.default else 0], There)
        asynchronous = kwargs.get("non_blocking") or (func is aten.copy_.default and len(args) > 2 and args[2])
        return crosses and not (result_there and asynchronous)
    if func in _INDEXED and there:  # masks have to be counted, and indices of the host to be copied
        indices = [each for each in args[1] if each is not None]
        return bool(here) or any(each.dtype in (torch.bool, torch.uint8) for each in indices)
    return bool(there) and func in _READING
