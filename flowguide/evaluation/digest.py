"""Names for things by what they are; see :mod:`flowguide.digest`."""

from ..digest import digest_of, digest_of_tensors

__all__ = ["digest_of", "digest_of_tensors"]
