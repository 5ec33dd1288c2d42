"""What the README says is so: its code runs, its table is the committed results', its commands are those of CI."""

import json
import re
from pathlib import Path

import pytest
from typer.main import get_command

from benchmarks import readme
from gconv.commands.app import COMMANDS, app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


CODE = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("code", CODE, ids=["what you type" if "# 1." in code else "train" for code in CODE])
def test_the_code_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert len(CODE) == 2


def test_the_training_script_is_short_and_trains(tmp_path, monkeypatch, capsys):
    (code,) = (code for code in CODE if "history = fit" in code)
    assert len([line for line in code.splitlines() if line.strip()]) <= 21
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second time there is nothing left to do, and the same answer
        exec(compile(code, "README.md", "exec"), {})
    first, second = capsys.readouterr().out.split()
    assert first == second
    assert float(first.rstrip("%")) > 60


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_of_the_commands_are_known(name):
    parameters = get_command(app).commands[name].params
    known = {option for parameter in parameters for option in parameter.opts}
    calls = re.findall(rf"^gconv {name} (.*)$", README.replace("\\\n", ""), flags=re.MULTILINE)
    assert calls or name not in ("train", "evaluate", "predict")
    for call in calls:
        assert set(re.findall(r"(?<!-)--[a-z][a-z-]*", call)) <= known, call


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
