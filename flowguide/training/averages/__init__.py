"""Averages of weights along training, and any power-function average after it.

``average`` keeps them while a run trains, ``power`` has the mathematics of those with a relative width, ``snapshots``
what is kept of them, and ``synthesis`` makes one of a width that was not tracked from the snapshots of those that were.
A further kind of average is a class with ``decay_at``.
"""

from .average import Average, Averages, ExponentialAverage, PowerAverage
from .power import LONGEST, Profile, gamma_of, sigma_rel_of
from .synthesis import Fit, Synthesis, fit, synthesise

__all__ = [
    "LONGEST",
    "Average",
    "Averages",
    "ExponentialAverage",
    "Fit",
    "PowerAverage",
    "Profile",
    "Synthesis",
    "fit",
    "gamma_of",
    "sigma_rel_of",
    "synthesise",
]
