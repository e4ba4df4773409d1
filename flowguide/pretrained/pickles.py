"""The networks that EDM and its heirs publish as ``.pkl``: tensors and plain data, and none of the code in them.

Such a file is a pickle of a dictionary, of which ``ema`` is the network. A pickle is a program: it names functions,
which loading it calls. A network of these files, and every layer in it, is a call of
``torch_utils.persistence._reconstruct_persistent_obj`` with one dictionary,

=================  ==================================================================================
``class_name``     of the network
``module_src``     the source code of its module, which the original runs; here it is a string and stays one
``state``          attributes of the object: ``_parameters``, ``_buffers`` and ``_modules`` as of any
                   torch module, and ``_init_kwargs``, what it was constructed with
=================  ==================================================================================

Read here, that call and every class of ``torch.nn.modules`` make a :class:`Record`, which holds what it is given and
does nothing. Beside them a file may name what is needed for tensors, dictionaries and NumPy's numbers: all of these are
functions of this file, whose arguments are checked. Storages are files of torch's own within the file, and are read as
``weights_only``. Whatever else a file names is refused before anything is called.

Source: Karras et al. (2022), arXiv 2206.00364, and the files published with it.
"""

import collections
import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NUMBERS = frozenset(f"{kind}{size}" for kind in "fiu" for size in (1, 2, 4, 8)) - {"f1"} | {"b1"}


def read_pickle(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of the network in a file, by name, and how it was constructed.

    Args:
        file: As it was published; ``ema`` in it is the network.
    Returns:
        Tensors by dotted names, and the options that the network was constructed with, beside ``class_name``.
    Raises:
        ValueError: if there is no such file, it names anything beyond networks, tensors and numbers, or holds no
            network. Nothing of it was run then.
    """
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    with open(file, "rb") as opened:
        try:
            found = _Restricted(opened).load()
        except ValueError as error:
            raise ValueError(f"{file} cannot be read: {error}") from None
        except Exception as error:  # of a damaged pickle any line may be the one that fails
            raise ValueError(f"{file} is truncated or no pickle of a network ({_sentence(error)})") from None
    network = found.get("ema") if isinstance(found, Mapping) else found
    if not isinstance(network, Record):
        holds = f"entries {list(found)!r:.100}" if isinstance(found, Mapping) else f"a {type(found).__name__}"
        raise ValueError(f"{file} should hold a network, as its entry ema, and holds {holds}")
    try:
        return dict(network.tensors()), {**network.options, "class_name": network.class_name}
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: {error}") from None
    except RecursionError:
        raise ValueError(f"{file} holds a network that is a part of itself") from None


class _Inert:
    """What has nothing that a pickle could set: it stands for a function or class that a file names."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise ValueError("it changes a function, which no network does; nothing of it was run")


class _Function(_Inert):
    """A function of this file, in the place of one that a file names."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)


class Record:
    """An object of a file: its attributes, and no behaviour.

    Attributes:
        class_name: Of the object, if it is one of EDM's.
        state: Its attributes.
    """

    __slots__ = ("class_name", "state")

    def __init__(self) -> None:
        self.class_name: str | None = None
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = _mapping(state, "the state of an object")

    @property
    def options(self) -> dict[str, Any]:
        """What it was constructed with, by name."""
        return dict(_mapping(self.state.get("_init_kwargs") or {}, "_init_kwargs"))

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Parameters and buffers of it and of what it is made of, by dotted names."""
        for kind in ("_parameters", "_buffers"):
            for name, value in _mapping(self.state.get(kind, {}), kind).items():
                if isinstance(value, Tensor):
                    yield f"{prefix}{name}", value
                elif value is not None:
                    raise ValueError(f"{prefix}{name} is a {type(value).__name__}, and no tensor")
        for name, part in _mapping(self.state.get("_modules", {}), "_modules").items():
            if isinstance(part, Record):
                yield from part.tensors(f"{prefix}{name}.")
            elif part is not None:
                raise ValueError(f"{prefix}{name} is a {type(part).__name__}, and no layer")


class _Dictionary(dict):
    """A dictionary whose entries the original also shows as attributes; here it is one and no more."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise ValueError("it gives attributes to a dictionary, which no network does; nothing of it was run")


class _Number:
    """A kind of NumPy's numbers, by its code."""

    __slots__ = ("code",)

    def __init__(self, code: str) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", "|"):
            raise ValueError(f"it has numbers of the byte order {state[1]!r}, and those of networks are '<'")


def _persistent(meta: Any) -> Record:
    meta = _mapping(meta, "what describes an object")
    record = Record()
    record.class_name = str(meta.get("class_name"))
    record.state = _mapping(meta.get("state"), "the state of an object")
    return record


def _storage(content: Any) -> Any:
    if not isinstance(content, bytes):
        raise ValueError(f"it has a {type(content).__name__} where a storage should be")
    try:
        storage = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError("a storage in it holds more than numbers; nothing of it was run") from None
    if not isinstance(storage, torch.storage.TypedStorage):
        raise ValueError(f"it has a {type(storage).__name__} where a storage should be")
    return storage


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A tensor; whether it has a gradient, and hooks, are left."""
    if not isinstance(storage, torch.storage.TypedStorage):
        raise ValueError(f"it has a tensor of a {type(storage).__name__}, which is no storage")
    whole = torch.empty(0, dtype=storage.dtype).set_(storage)
    if not all(isinstance(number, int) and number >= 0 for number in (offset, *size, *stride)):
        raise ValueError("it has a tensor whose sizes are no sizes")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if 0 not in size and last >= len(whole):
        raise ValueError(f"it has a tensor of {tuple(size)} in a storage of {len(whole)} numbers")
    return whole.as_strided(size, stride, offset)


def _parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise ValueError(f"it has a parameter that is a {type(data).__name__}, and no tensor")
    return data


def _number(code: Any, *_: Any) -> _Number:
    if code not in _NUMBERS:
        raise ValueError(f"it has numbers of the kind {code!r}, which no network has")
    return _Number(code)


def _scalar(kind: Any, content: Any) -> int | float | bool:
    if not isinstance(kind, _Number) or not isinstance(content, bytes):
        raise ValueError("it has a number of NumPy's that is none")
    return np.frombuffer(content, f"<{kind.code}")[0].item()


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{what} is a {type(value).__name__}, and not entries by name")
    return value


# Types stay types, since that is what pickles make objects of; those of Python's have nothing that can be set.
_ALLOWED: dict[str, Any] = {
    "collections.OrderedDict": collections.OrderedDict,
    "builtins.set": set,
    "dnnlib.util.EasyDict": _Dictionary,
    "torch_utils.persistence._reconstruct_persistent_obj": _Function(_persistent),
    "torch._utils._rebuild_tensor_v2": _Function(_tensor),
    "torch._utils._rebuild_parameter": _Function(_parameter),
    "torch.storage._load_from_bytes": _Function(_storage),
    "numpy.dtype": _Function(_number),
    "numpy.core.multiarray.scalar": _Function(_scalar),
    "numpy._core.multiarray.scalar": _Function(_scalar),
}


class _Restricted(pickle.Unpickler):
    """Objects of the allowed names alone."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("torch.nn.modules."):
            return Record
        if f"{module}.{name}" not in _ALLOWED:
            raise ValueError(
                f"it names {module}.{name}, which is no part of a network, tensor or number; nothing of it was run"
            )
        return _ALLOWED[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> Any:
        raise ValueError("it refers to objects outside of it; nothing of it was run")


def _sentence(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
