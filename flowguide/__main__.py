"""``python -m flowguide``, and with it ``torchrun -m flowguide``."""

from .cli import main

main()
