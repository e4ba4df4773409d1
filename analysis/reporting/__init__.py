"""The parts of ``analysis/report.py``: what is known of a run, its curves, and the page that they are put on.

``html`` makes escaped elements and ``page`` the document, ``style.css`` is its looks; ``curves`` draws in SVG; ``run``
reads what a run's folder holds; ``sections`` say it; ``training`` and ``quality`` are the two that have curves.
"""
