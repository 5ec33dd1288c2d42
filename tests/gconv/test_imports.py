"""What an import pulls in: torch and little else; everything heavy loads where it is used."""

import subprocess
import sys

import pytest

HEAVY = (
    "torch_geometric",
    "matplotlib",
    "sklearn",
    "ignite",
    "networkx",
    "pooch",
    "typer",
    "rich",
    "scipy",
    "jinja2",
    "PIL",
    "kornia",
    "yaml",
)


@pytest.mark.parametrize("package", ["gconv", "grid_cnn", "gconv.data", "gconv.plotting"])
def test_import_is_light(package):
    # torch itself brings networkx or others with it on some versions; what counts is what this package adds.
    code = f"import sys, torch; before = set(sys.modules); import {package}; print(*sorted(set(sys.modules) - before))"
    added = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    tops = {name.partition(".")[0] for name in added}
    assert not tops & set(HEAVY)


def test_grid_cnn_knows_nothing_of_graphs():
    code = "import sys, grid_cnn; print('gconv' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
