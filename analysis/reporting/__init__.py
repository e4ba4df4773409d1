"""The parts of ``analysis/report.py``.

``run`` reads what a run's folder holds, and ``missing`` has the scripts draw what it lacks; ``setup``, ``training``,
``quality`` and ``figures`` say it, a section or some each; ``html`` makes escaped elements, ``curves`` draws in SVG,
``page`` makes the document, and ``style.css`` is its looks.
"""
