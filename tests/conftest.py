"""What every test may use: reproducible hypothesis, one thread, a cache of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pretend
import pytest
import torch
from hypothesis import settings

# The same examples in every run: a red test is red again.
options = {"deadline": None, "derandomize": True, "print_blob": True}
settings.register_profile("flowguide", max_examples=25, **options)
settings.register_profile("quick", max_examples=10, **options)  # of 'make test'
settings.load_profile("flowguide")
torch.set_num_threads(1)
if pretend.AVAILABLE:
    pretend.register()  # now: the first backward pass of a process counts the devices that there are


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing of a test is kept in the user's cache, and nothing from there is used."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("FLOWGUIDE_CACHE")
    os.environ["FLOWGUIDE_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["FLOWGUIDE_CACHE"]
    else:
        os.environ["FLOWGUIDE_CACHE"] = before
