"""Entry point: which command, with what words, and what becomes of mistakes.

Nothing heavy is imported before a command is known to need it.
"""

import os
import select
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..registry import unknown
from . import help


def main(argv: Sequence[str] | None = None) -> None:
    """The ``flowguide`` command: exits with 0, with 2 after one sentence, or with 130 if interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    guard(lambda: _dispatch(words))


def guard(command: Callable[[], None]) -> None:
    """Run a command; answer a user's mistake with one sentence and exit code 2, Ctrl-C with 130, and a reader that has
    gone away with 141 and no word.

    With FLOWGUIDE_TRACEBACK set, mistakes keep their traceback.
    """
    try:
        command()
        sys.stdout.flush()
    except (ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _is_unread():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries once more at its end
            sys.exit(141)  # what a shell says of a program that SIGPIPE ended
        if os.environ.get("FLOWGUIDE_TRACEBACK"):
            raise
        print(f"flowguide: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print(f"\nflowguide: {stop if str(stop) else 'stopped'}", file=sys.stderr)
        sys.exit(130)


def _is_unread() -> bool:
    """Whether whoever reads what is printed has gone: ``head`` does when it has read enough, and that is no mistake."""
    try:
        pipe = select.poll()
        pipe.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in pipe.poll(0))
    except (AttributeError, OSError):  # no such call, or no such file
        return False


def launch(
    task: Callable[[dict[str, Any], Path], None], name: str, words: Sequence[str], where: Path | None = None
) -> None:
    """Compose a recipe and run ``task`` on it, with flowguide's own messages on standard error."""
    import logging

    from . import recipes

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("flowguide").setLevel(logging.INFO if is_first() else logging.WARNING)
    recipes.run(task, where or recipes.folder(), name, words)


def is_first() -> bool:
    """Whether this is the process that speaks, of those that torchrun may have started."""
    return os.environ.get("RANK", "0") == "0"


def script(
    task: Callable[[dict[str, Any], Path], None],
    name: str,
    words: Sequence[str] | None = None,
    example: str | None = None,
) -> None:
    """Run an analysis script: its recipe with the command line's overrides, and mistakes answered in a sentence.

    Args:
        task: Called with the resolved settings and the output folder; its module's docstring is the help.
        name: Of the recipe: ``"analysis/samples"``.
        words: The command line; ``sys.argv`` if None.
        example: A call with a run folder, for a script that needs one; its first bare word is the run.
    """
    words = list(sys.argv[1:] if words is None else words)
    if any(word in ("-h", "--help") for word in words):
        print(sys.modules[task.__module__].__doc__)
        return
    guard(lambda: launch(task, name, of_run(words, example) if example else words))


def of_run(words: Sequence[str], example: str) -> list[str]:
    """The words with the first bare one, a run folder or checkpoint file, as ``run=`` and its folder as ``home=``.

    Raises:
        ValueError: if there is no such run; checked here, before anything is written anywhere.
    """
    from ..training import RunFolder
    from ..training.checkpoint import is_checkpoint

    words = list(words)
    if words and ("=" not in words[0] or Path(words[0]).exists()) and not words[0].startswith("-"):
        words[0] = f"run={quoted(words[0])}"
    runs = [_unquoted(word.partition("=")[2]) for word in words if word.startswith("run=")]
    if not runs or not runs[-1].strip():
        raise ValueError(f"which run? Name the folder that 'flowguide train' wrote, for example: {example}")
    home = Path(runs[-1])
    if is_checkpoint(home):
        home = home.parent.parent if home.parent.name in ("checkpoints", "averages") else home.parent
    else:
        RunFolder(home).config()
    return [*words, f"home={quoted(str(home))}"]


def quoted(word: str) -> str:
    """A string in hydra's grammar, whatever is in it."""
    escaped = word.replace("'", "\\'")
    return f"'{escaped}'"


def _unquoted(word: str) -> str:
    """The string that a value in hydra's grammar stands for."""
    if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
        return word[1:-1].replace(f"\\{word[0]}", word[0])
    return word


def _dispatch(words: list[str]) -> None:
    commands = {
        "train": _train,
        "sample": _sample,
        "evaluate": _evaluate,
        "ema": _ema,
        "encode": _encode,
        "import": _import,
        "list": _list,
    }
    if not words or words[0] in ("-h", "--help", "help"):
        print(help.USAGE, end="")
    elif words[0] == "--version":
        from .. import __version__

        print(f"flowguide {__version__}")
    elif words[0] not in commands:
        raise unknown("command", words[0], commands)
    elif any(word in ("-h", "--help") for word in words):
        print(help.of(words[0]), end="")
    else:
        commands[words[0]](words[1:])


def _train(words: Sequence[str]) -> None:
    from . import commands, recipes

    if not words or "=" in words[0] or words[0].startswith("-"):
        raise ValueError(f"which recipe? flowguide train RECIPE (known: {', '.join(recipes.names())})")
    where, name = recipes.locate(words[0])
    flags = {"--allow": "allow=true", "--quiet": "quiet=true", "--smoke": f"+smoke={name}"}
    launch(commands.train, name, [f"recipe={quoted(name)}", *(flags.get(word, word) for word in words[1:])], where)


def _sample(words: Sequence[str]) -> None:
    from . import cascades, commands

    if any(word.startswith("cascade=") for word in words):
        launch(cascades.sample, "base/cascade", cascades.of_last(words, "sample"))
        return
    launch(commands.sample, "base/sample", of_run(words, "flowguide sample runs/digits"))


def _evaluate(words: Sequence[str]) -> None:
    from . import cascades, commands

    words = ["smoke=evaluate" if word == "--smoke" else word for word in words]
    if any(word.startswith("cascade=") for word in words):
        launch(commands.evaluate, "base/evaluate_cascade", cascades.of_last(words, "evaluate"))
        return
    launch(commands.evaluate, "base/evaluate", of_run(words, "flowguide evaluate runs/digits"))


def _ema(words: Sequence[str]) -> None:
    import logging

    from . import ema

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    ema.run(words)


def _encode(words: Sequence[str]) -> None:
    from . import commands

    words = list(words)
    if words and ("=" not in words[0] or Path(words[0]).exists()) and not words[0].startswith("-"):
        words[0] = f"autoencoder={quoted(words[0])}"
    example = "flowguide encode runs/glyphs_vae out=runs/glyphs_latents"
    if not any(word.startswith("autoencoder=") for word in words):
        raise ValueError(f"which autoencoder? Name a run of one, or a folder of diffusers, for example: {example}")
    if not any(word.startswith("out=") for word in words):
        raise ValueError(f"out=... is missing, the folder where the latents go, for example: {example}")
    launch(commands.encode, "base/encode", words)


def _import(words: Sequence[str]) -> None:
    from . import importing

    importing.run(words)


def _list(words: Sequence[str]) -> None:
    from .listing import show

    show(words)
