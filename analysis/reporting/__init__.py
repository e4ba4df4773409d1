"""The parts of ``analysis/report.py``: what is known of a run, its curves, and the page that they are put on.

``run`` reads what a run's folder holds, and ``missing`` has drawn what it lacks; ``setup``, ``training``, ``quality`` and
``figures`` say it, a section or some each; ``html`` makes escaped elements, ``curves`` draws in SVG, ``page`` makes the
document, and ``style.css`` is its looks.
"""
