"""Evaluation: a run measured against real data, at several guidance weights.

Metrics are computed in ``features``: by default those of a classifier that flowguide trains on the run's own data set.
They are not the FID and IS of the literature, which use an Inception network; every row says whose they are, how images
were resized, of how many samples, and against what. What features see in real data is kept (``reference``), and so are
finished points (``kept``), so that an evaluation that was interrupted, or is asked for again, goes on where it stopped.
"""

from .config import EvaluateConfig, weights_of
from .evaluate import evaluate
from .features import Features
from .judge import Judge, judge_for
from .kept import Row
from .reference import Reference, reference_of
from .tables import REAL, as_text, label_of, label_of_weight, summarise, write_csv, write_tables
from .view import View, Views
from .watch import Watch, WatchConfig, watcher

__all__ = [
    "REAL",
    "EvaluateConfig",
    "Features",
    "Judge",
    "Reference",
    "Row",
    "View",
    "Views",
    "Watch",
    "WatchConfig",
    "as_text",
    "evaluate",
    "judge_for",
    "label_of",
    "label_of_weight",
    "reference_of",
    "summarise",
    "watcher",
    "weights_of",
    "write_csv",
    "write_tables",
]
