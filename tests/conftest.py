"""What does every test find in place?  One thread, no network, and the real corpora if this machine has them."""

import os
from pathlib import Path

import pytest

# Before torch is imported: small tensors are faster on one thread, and two-process tests do not fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# A test that would reach for the Hub fails at once instead of waiting for a network that may not be there.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Also on a machine with a GPU: the launchers that tests start would otherwise take it.
os.environ.setdefault("ACCELERATE_USE_CPU", "true")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real corpora that CLOZE_DATA names; the test is skipped where there is none."""
    named = os.environ.get("CLOZE_DATA")
    if not named:
        pytest.skip("CLOZE_DATA is not set: this test reads real corpora")
    folder = Path(named)
    if not folder.is_dir():
        pytest.skip(f"CLOZE_DATA names {folder}, which is not a folder: this test reads real corpora")
    return folder
