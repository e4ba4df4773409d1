"""Evaluation: a run measured against real data, at several guidance weights.

Metrics are computed in the features of a classifier that flowguide trains on the run's own data set (``judge``). They
are not the FID and IS of the literature, which use an Inception network; every table says whose they are. Finished
points are kept (``kept``), so that an evaluation that was interrupted, or is asked for again, goes on where it stopped.
"""

from .evaluate import EvaluateConfig, evaluate, weights_of
from .judge import Judge, judge_for
from .kept import Row
from .tables import REAL, as_text, label_of, label_of_weight, summarise, write_tables
from .watch import Watch, WatchConfig, watcher

__all__ = [
    "REAL",
    "EvaluateConfig",
    "Judge",
    "Row",
    "Watch",
    "WatchConfig",
    "as_text",
    "evaluate",
    "judge_for",
    "label_of",
    "label_of_weight",
    "summarise",
    "watcher",
    "weights_of",
    "write_tables",
]
