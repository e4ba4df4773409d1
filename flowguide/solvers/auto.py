"""The solver for a number of steps: which method, of which order, on which grid."""

from .adams import PEC
from .base import solvers

# Steps from which so many slopes predict (half: one more in the first half of the steps). Few steps are long beside the
# features of the field, and high orders overshoot.
_SLOPES = {1: 1.5, 14: 2.0, 17: 2.5, 20: 3.5, 26: 4.0, 40: 4.5, 50: 5.0}


@solvers.register("auto")
class Auto(PEC):
    """The default: Adams predictor and corrector in straight coordinates, its order growing with the steps.

    One evaluation per step, the steps shorter near the data (:class:`.Shifted`). Orders and grid were chosen on random
    Gaussian mixtures in 2 to 64 dimensions, guided with w from 1 to 4; since straight coordinates are those of every
    path, they serve all.

    Args:
        steps, t_start, t_end: As for every solver.
    """

    def __init__(self, steps: int = 20, t_start: float | None = None, t_end: float | None = None) -> None:
        slopes = max(value for first, value in _SLOPES.items() if first <= max(steps, 1))
        super().__init__(slopes, None, steps, {"name": "shifted", "shift": 1.4, "power": 1.5}, t_start, t_end)
