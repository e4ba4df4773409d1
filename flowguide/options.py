"""Options checked against a signature, so that a mistyped one is answered in a sentence.

The annotations of a component's constructor are its schema: there is no second list of options to keep in step.
Checked are the types that a recipe can write (numbers, strings, booleans, None, literals, sequences, mappings);
any other annotation is left to the component.
"""

import collections.abc
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union

_SEQUENCES = (list, tuple, collections.abc.Sequence)
_MAPPINGS = (dict, collections.abc.Mapping)
_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "a string", type(None): "null"}


class Mismatch(Exception):
    """The value does not fit the annotation."""


def check_options(
    owner: str, target: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Check ``options`` against the signature of ``target`` and return them converted (an int where a float is due).

    Args:
        owner: Whose options they are, for the message: ``"path 'vp'"``.
        target: The class or function that will be called as ``target(*args, **options)``.
        args: Its positional arguments, not checked.
        options: Its keyword arguments.
    Raises:
        ValueError: if one is unknown, missing or of the wrong type.
    """
    from .registry import unknown

    signature = inspect.signature(target)
    parameters = list(signature.parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(args) > len(positional) and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise ValueError(f"{owner} takes {len(positional)} positional arguments at most, not {len(args)}")
    taken = {p.name for p in positional[: len(args)]}
    known = {
        p.name: p for p in parameters if p.name not in taken and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    hints = annotations_of(target)
    checked = {}
    for name, value in options.items():
        if name not in known:
            raise unknown(f"option of {owner}:", name, known)
        try:
            checked[name] = _fit(value, hints.get(name, Any))
        except Mismatch:
            expected = describe(hints[name])
            open_ = value is None and known[name].default is inspect.Parameter.empty
            hint = f": give one, {name}=..." if open_ else ""
            raise ValueError(f"option {name!r} of {owner} must be {expected}, not {_shown(value)}{hint}") from None
    missing = [p.name for p in known.values() if p.default is p.empty and p.name not in checked]
    if missing:
        raise ValueError(f"{owner} needs the option {missing[0]!r} ({describe(hints.get(missing[0], Any))})")
    return checked


def annotations_of(target: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of the arguments of a class or function."""
    return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)


def describe(annotation: Any) -> str:
    """An annotation in words: ``int | None`` is "an integer or null"."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _WORDS:
        return _WORDS[annotation]
    if origin is Literal:
        return "one of " + ", ".join(map(repr, inner))
    if origin in (Union, types.UnionType):
        # A tensor cannot be written in a recipe; whoever passes one knows that it can be.
        writable = [part for part in inner if getattr(part, "__name__", "") != "Tensor"]
        return " or ".join(dict.fromkeys(describe(part) for part in writable))
    if origin in _MAPPINGS or annotation in _MAPPINGS:
        return "a group of settings"
    if origin in _SEQUENCES:
        return "a list, each entry " + describe(inner[0]) if inner else "a list"
    name = getattr(annotation, "__name__", str(annotation))
    return f"a {name}" if _is_ours(annotation) else name


def _shown(value: Any) -> str:
    """A value in a sentence: modules and tensors, which would fill pages, by what they are."""
    return f"a {type(value).__name__}" if _is_ours(type(value)) else repr(value)


def _is_ours(annotation: Any) -> bool:
    """Whether it is a class that a recipe cannot write a value of."""
    return inspect.isclass(annotation) and annotation.__module__.split(".")[0] in ("torch", "flowguide")


def _fit(value: Any, annotation: Any) -> Any:
    """``value`` as ``annotation`` wants it; Mismatch if it cannot be."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return _fit_any(value, inner)
    if origin is Literal:
        return _only(value, any(value == choice and type(value) is type(choice) for choice in inner))
    if origin in _SEQUENCES:
        _only(value, isinstance(value, Sequence) and not isinstance(value, str))
        entries = [_fit(entry, inner[0] if inner else Any) for entry in value]
        return tuple(entries) if origin is tuple else entries
    if origin in _MAPPINGS or annotation in _MAPPINGS:
        return _only(value, isinstance(value, Mapping))
    if annotation is float:
        _only(value, isinstance(value, (int, float)) and not isinstance(value, bool))
        return float(value)
    if annotation is int:
        # The shell's 1e4 arrives as a float; it is an integer all the same.
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            return int(value)
        return _only(value, isinstance(value, int) and not isinstance(value, bool))
    if annotation in _WORDS:
        return _only(value, isinstance(value, annotation))
    if _is_ours(annotation):
        return _only(value, isinstance(value, annotation))
    return value


def _fit_any(value: Any, annotations: Sequence[Any]) -> Any:
    """The first annotation of a union that fits wins; an exact type goes before a conversion."""
    for annotation in annotations:
        if inspect.isclass(annotation) and type(value) is annotation:
            return value
    for annotation in annotations:
        try:
            return _fit(value, annotation)
        except Mismatch:
            continue
    raise Mismatch


def _only(value: Any, fits: bool) -> Any:
    if not fits:
        raise Mismatch
    return value
