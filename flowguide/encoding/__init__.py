"""Latents of a data set, written once: what ``flowguide encode`` does."""

from .encode import EncodeConfig, encode
from .source import load_autoencoder

__all__ = ["EncodeConfig", "encode", "load_autoencoder"]
