r"""Text encoders: a caption as a sequence of tokens, and as one vector.

.. math:: \text{caption} \to (h_1, \dots, h_L) \in R^{L \times C}, \quad e \in R^E,

frozen: nothing of them is trained here. :func:`open_encoder` finds one by its name: a registered one, a folder, a
Python package that holds one, or a name on the Hugging Face hub.

To add one that transformers does not know, write a file here (or anywhere that is imported) with a subclass of
:class:`Encoder`, its ``count`` and its ``embed``, registered as ``words.py`` registers its own.
"""

from ...registry import import_siblings
from .base import Embedded, Encoder
from .base import encoders as registry
from .named import open_encoder

register, build, names = registry.register, registry.build, registry.names

__all__ = ["Embedded", "Encoder", "build", "names", "open_encoder", "register", "registry"]

import_siblings(__name__)
