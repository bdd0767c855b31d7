"""A component from outside the repository, from the words of the command line to its report."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from ablations.cli import main
from tests.ablations.conftest import QUICK, Said, ablate

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent.parent / "docs/own-component.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the user's with the module in it, and nothing else."""
    shutil.copy(HERE / "blur/my_blur.py", tmp_path)
    return tmp_path


def study(folder: Path, spec: str, *words: str) -> Said:
    request = ("--base", "tiny", "--add", spec, "--seeds", "1", "--slots", "2", *QUICK)
    return ablate(*request, "--format", "json", *words, folder=folder)


def test_the_documentation_shows_this_component() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    kept = (HERE / "blur/my_blur.py").read_text().partition("\n\n")[2]

    def lines(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.strip()]

    assert lines(shown) == lines(kept)


def test_a_users_component_is_trained_and_reported(folder: Path) -> None:
    said = study(folder, "my_blur:Blur(strength=2)", "--study", "mine")
    assert said.code == 0, said.err
    (contrast,) = said.json["contrasts"]
    assert contrast["label"] == "+my_blur:Blur(strength=2)"
    assert (contrast["kind"], contrast["outcome"]) == ("augmentation", "applied")
    assert list(contrast["edits"]) == ["custom.blur"]
    values = {row["arm"]: row["value"] for row in said.json["runs"]}
    assert values["base"] != values["my_blur:Blur(strength=2)"]  # it was treated

    again = study(folder, "my_blur:Blur(strength=2)", "--study", "mine")
    assert (again.code, again.out) == (0, said.out)
    assert "trained nothing" in again.err

    # Another source is another treatment: never mixed with what was trained.
    module = folder / "my_blur.py"
    module.write_text(module.read_text().replace("padding=1)", "padding=1) * 1.0"))
    changed = study(folder, "my_blur:Blur(strength=2)", "--study", "mine")
    assert changed.code == 2
    assert "frozen with other data or recipes" in changed.err

    # A report reads the ledger only, so it needs no code of the user's.
    module.unlink()
    home = ("--home", folder / "ablate-home")
    report = ablate("report", "mine", "--format", "json", *home, folder=folder.parent)
    assert (report.code, report.out) == (0, said.out)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("my_blurr:Blur", "no module 'my_blurr'"),
        ("my_blur:Blurr", "my_blur has no 'Blurr'"),
        ("my_blur:blur", "not a subclass of recipes.Component"),
        ("my_blur:Blur(strenght=2)", "no argument 'strenght'; did you mean 'strength'"),
        ("my_blur:Blur(strength=much)", "strength = 'much'"),
        ("broken:Blur", "importing broken failed with ZeroDivisionError"),
    ],
)
def test_a_mistake_is_told(
    spec: str,
    told: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "broken.py").write_text("1 / 0\n")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "my_blur", raising=False)
    code = main(["show", "tiny", "--add", spec, "--home", str(folder)])
    sys.modules.pop("my_blur", None)
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert told in said.err
