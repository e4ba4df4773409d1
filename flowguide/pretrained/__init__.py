"""Models that others have trained and published, read from their own files.

::

    field = fg.load_pretrained("256x256_diffusion_uncond.pt", format="adm")
    samples = fg.sample(field, (4, *field.shape), solver=fg.solvers.build("auto", steps=50))

    field = fg.load_pretrained("SiT-XL-2-256x256.pt", format="sit")
    rule, labels = fg.guidance.build("cfg", field, w=4.0), torch.tensor([207, 360])
    latents = fg.sample(rule, (2, *field.shape), labels, solver=fg.solvers.build("heun", steps=25))

Only tensors are read: no code of a file is ever run. A format knows the names and shapes in its files; it makes of them
an :class:`Imported`, the components that the tensors belong to and the tensors under the names they have here. A file
that leaves one tensor unused, or one missing, is refused.

To add a format, write a file here (or anywhere that is imported)::

    @fg.pretrained.register("mine")
    def mine(tensors: Mapping[str, Tensor], size: Sequence[int] | None = None) -> fg.pretrained.Imported: ...

One whose second parameter is ``config`` reads folders as diffusers saves them, and is given the tensors in one and the
mapping that is its ``config.json``. If ``config`` has a default, files without one are read too, and EDM's ``.pkl``
whose config is what its network was constructed with.
"""

from ..registry import import_siblings
from .base import Imported, Place, take
from .base import formats as registry
from .load import load_pretrained, read

register, build, names = registry.register, registry.build, registry.names

__all__ = [
    "Imported",
    "Place",
    "build",
    "load_pretrained",
    "names",
    "read",
    "register",
    "registry",
    "take",
]

import_siblings(__name__)
