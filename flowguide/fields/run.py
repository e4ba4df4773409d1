"""What a field may know of the run that evaluates it: the one hook between solvers and fields.

Most fields need nothing but (x, t, cond). One that does, takes part in two ways:

* ``field.for_run(run)`` is asked once, before the first step, for the field to be evaluated in this run. A field that
  keeps something from evaluation to evaluation (momentum, an embedding) or looks at the steps to come returns a fresh
  copy of itself that holds it: no state survives a run, and two runs share none.
* ``field.after_step(x, step)`` is called after each step by solvers of single steps, for a field that says
  ``between_steps = True``, and may change the states: resample particles, renoise, correct.

A solver knows of no rule and a rule of no solver.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Run:
    """One run of a solver.

    Attributes:
        times: Of the steps, increasing, float64, shape (steps + 1,).
        cond: The conditions of the run, one per sample, or None.
        seed: Of the randomness of whatever is drawn; None if the run was given none.
        first: Index of the sample in row 0, or of that in every row, int64, shape (B,).
        count: How many samples there are; None if that is not known.
    """

    times: Tensor
    cond: Tensor | None
    seed: int | None = None
    first: int | Tensor = 0
    count: int | None = None
