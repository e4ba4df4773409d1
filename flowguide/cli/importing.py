"""``flowguide import``: a published file made a run folder, for every command that takes one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from .. import pretrained, training
from . import recipes

_EXAMPLE = "flowguide import 256x256_diffusion.pt format=adm out=runs/adm_256"


def run(words: Sequence[str]) -> None:
    """Read the file, write the folder, and say what to do next.

    Args:
        words: The file, ``format=`` and ``out=``, options of the format, and ``imports=[...]`` for one of the user's.
    Raises:
        ValueError: if the words are not of that kind, or the file is not of that format.
    """
    imports = recipes.imports_among(words)
    recipes.import_modules(imports)
    file, options = _read(words)
    format, out = options.pop("format"), Path(str(options.pop("out")))
    options.pop("imports", None)
    imported = pretrained.read(file, format, **options)
    if imported.shape is None:
        raise ValueError(f"{file} does not tell the size of its images: say size=[height, width]")
    settings: dict[str, Any] = {
        "recipe": f"import {Path(file).name}",
        "run": str(out),
        "out": str(out),
        "network": dict(imported.network),
        "path": dict(imported.path),
        "conditioner": imported.conditioner and dict(imported.conditioner),
        "predicts": imported.predicts,
        "sigma_data": imported.sigma_data,
        "clock": imported.clock,
        "shown": imported.shown if imported.classifies else None,
        "shape": list(imported.shape),
        "imports": imports,
        # Neither is known of such a file; a recipe has them.
        "data": {},
        "objective": {},
        "training": {"steps": 1},
    }
    folder = training.RunFolder(out)
    folder.open(settings)
    # Published weights are averages, and there are no others.
    tensors = {f"ema.network.{name}": tensor for name, tensor in imported.tensors.items()}
    folder.save(0, tensors, settings, keep=1)
    print(f"imported: {out}")
    if imported.classifies:
        print(f"next:     flowguide sample RUN guidance=classifier guidance.base=conditional guidance.classifier={out}")
    elif imported.conditioner:
        print(f"next:     flowguide sample cascade=[BASE,{out}] '~guidance'")
    else:
        print(f"next:     flowguide sample {out} '~guidance'")


def _read(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The file, and the settings by name."""
    files, options = [word for word in words if "=" not in word], {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            try:
                options[name] = yaml.safe_load(value)
            except yaml.YAMLError:
                raise ValueError(f"{word} cannot be read; write lists as {name}=[1, 2]") from None
    if len(files) != 1:
        raise ValueError(f"which file? Name one, for example: {_EXAMPLE}")
    for name in ("format", "out"):
        if options.get(name) is None:
            raise ValueError(f"{name}=... is missing, for example: {_EXAMPLE}")
    return files[0], options
