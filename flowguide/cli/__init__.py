"""The command line: ``flowguide train | sample | evaluate | ema | encode | import | list``.

``main`` reads the command; ``recipes`` composes its configuration with hydra; ``commands`` does the work.
"""

from .main import main, script

__all__ = ["main", "script"]
