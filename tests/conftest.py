"""What all tests share: where real data lies, and a fixed random state."""

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _fixed_random_state():
    torch.manual_seed(0)


@pytest.fixture
def data_dir() -> Path:
    """The folder of real data sets, as users have them; a test that needs one skips where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GCONV_TEST_DATA", default))
    if not (folder / "MNIST/raw").is_dir():
        pytest.skip(f"no MNIST under {folder}; set GCONV_TEST_DATA to the folder that has MNIST/raw")
    return folder
