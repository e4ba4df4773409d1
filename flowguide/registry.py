r"""Registries: a name for every component.

A component (a path, network, solver, guidance rule, ...) is one class in one file with one decorator::

    @paths.register("mine")
    class Mine(Path): ...

and is then built by its name, from Python, from a recipe or from the command line::

    fg.paths.build("mine", option=3)

Names and options are checked before the component sees them, so that a slip of the keyboard is answered by a
sentence and never by a traceback from somewhere deeper.
"""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from .options import check_options

C = TypeVar("C", bound=Callable[..., Any])


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name that nobody knows: what was given, the closest match, and all that would do."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return ValueError(f"unknown {kind} {name!r}{hint} (known: {', '.join(known) or 'none'})")


class Registry:
    """The components of one kind, by name.

    Args:
        kind: What the components are, in the singular, for error messages: ``"path"``.
        given: Leading arguments that the caller hands over in Python (a guidance rule's ``field``, say) and that
            a recipe can therefore not set.
    """

    def __init__(self, kind: str, given: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.given = given
        self._components: dict[str, Callable[..., Any]] = {}

    def register(self, name: str, *, replace: bool = False) -> Callable[[C], C]:
        """Decorator that files a class (or any callable) under ``name``.

        Args:
            name: The name; one that is taken is refused unless ``replace`` is set.
            replace: Take the name over, as one wants when a notebook cell runs again.
        """

        def file_under_name(component: C) -> C:
            if name in self._components and not replace:
                taken = self._components[name]
                raise ValueError(
                    f"{self.kind} {name!r} is registered already, by {taken.__module__}.{taken.__qualname__}; "
                    f"choose another name or pass replace=True"
                )
            self._components[name] = component
            return component

        return file_under_name

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._components)

    def get(self, name: str) -> Callable[..., Any]:
        """The component called ``name``, not yet built; ValueError with the closest match if there is none."""
        if not isinstance(name, str) or name not in self._components:
            raise unknown(self.kind, name, self._components)
        return self._components[name]

    def build(self, name: str, *args: Any, **options: Any) -> Any:
        """Build the component called ``name``.

        Args:
            name: A registered name.
            *args: What the component takes from code: the field of a guidance rule, say.
            **options: Its options, as a recipe would give them.
        Raises:
            ValueError: if the name or an option is unknown, or an option is missing or of the wrong type.
        """
        component = self.get(name)
        return component(*args, **check_options(f"{self.kind} {name!r}", component, args, options))

    def build_from(self, config: Mapping[str, Any], *args: Any, **more: Any) -> Any:
        """Build from a recipe's node: ``name`` and the options beside it."""
        if not isinstance(config, Mapping) or "name" not in config:
            raise ValueError(f"a {self.kind} needs a name (one of: {', '.join(self.names())}), not {config!r}")
        options = {str(key): value for key, value in config.items() if key != "name"}
        return self.build(config["name"], *args, **options, **more)

    def choose(self, choice: str | Mapping[str, Any]) -> Any:
        """Build from what an option of another component says: a name alone, or a node as for :meth:`build_from`."""
        return self.build(choice) if isinstance(choice, str) else self.build_from(choice)

    def parameters(self, name: str) -> dict[str, inspect.Parameter]:
        """All parameters of ``name``, in order: what code hands over, and the options."""
        return dict(inspect.signature(self.get(name)).parameters)

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """The options that a recipe may set for ``name``, in the order of its signature."""
        return {key: value for key, value in self.parameters(name).items() if key not in self.given}

    def defaults(self, name: str) -> dict[str, Any]:
        """The recipe node of ``name``: its name and every option at its default (None where there is no default)."""
        empty = inspect.Parameter.empty
        options = {key: None if p.default is empty else p.default for key, p in self.options(name).items()}
        return {"name": name, **options}

    def describe(self, name: str) -> str:
        """First sentence of the component's docstring."""
        doc = inspect.getdoc(self.get(name)) or ""
        return " ".join(doc.split("\n\n")[0].split())


def import_siblings(package: str) -> None:
    """Import every module of ``package``, so that a file dropped into the folder registers itself."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, package + "."):
        importlib.import_module(module.name)
