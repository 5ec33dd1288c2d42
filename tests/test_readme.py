"""What the README says is so: its code runs, its table is the committed results', its commands are those of CI."""

import json
import re
from pathlib import Path

from benchmarks import readme

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_code_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})


def test_the_table_is_that_of_the_results():
    results = json.loads(readme.RESULTS.read_text())
    assert readme.with_table(README, results) == README
    assert f"]({readme.PICTURE.relative_to(ROOT)})" in README


def test_the_picture_is_that_of_the_results():
    # Coordinates may differ in the last digit from machine to machine; what is written there may not.
    fresh = readme.picture(json.loads(readme.RESULTS.read_text()))
    words = re.compile(r"<text[^>]*>([^<]*)</text>")
    assert words.findall(readme.PICTURE.read_text()) == words.findall(fresh)
    assert {"grid", "directional", "cheb", "monet", "gcn", "spectral", "linear", "mlp"} <= set(words.findall(fresh))


def test_every_exported_layer_is_in_the_table():
    import gconv

    for layer in gconv.layers():
        assert f"`{layer.__name__}`" in README


def test_the_map_is_complete():
    folders = {path.parent.name for path in ROOT.glob("gconv/*/__init__.py")} | {"grid_cnn", "benchmarks", "tests"}
    assert {folder for folder in folders if f"{folder}/`" not in README} == set()


def test_commands_are_those_of_ci():
    install = 'pip install -c constraints.txt -e ".[all]" && '
    assert f"{install}gconv compare" in README
    assert f"{install}pytest" in README
    assert f"{install}pytest" in (ROOT / ".ci/run").read_text()
