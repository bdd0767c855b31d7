"""`ablate report` in forms that people look at: pages, figures, a page that stays fresh."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ablations import open_study
from ablations.answers import story_of
from ablations.frozen import thaw
from ablations.ledger import Ledger
from ablations.report.page import render_page
from tests.ablations.conftest import Finished, Said, snapshot

Call = Callable[..., Said]


def test_the_page_is_on_stdout_or_in_a_file_and_needs_no_write(
    finished: Finished, home: Path, call: Call, tmp_path: Path
) -> None:
    before = snapshot(home)
    printed = call("report", finished.study, "--home", home, "--format", "html")
    assert printed.code == 0 and printed.out.startswith("<!DOCTYPE html>")
    file = tmp_path / "page.html"
    written = call("report", finished.study, "--home", home, "--format", "html", "-o", file)
    assert (written.code, written.out) == (0, "")
    assert file.read_text(encoding="utf-8") == printed.out
    assert snapshot(home) == before
    for run in finished.said.json["runs"]:
        assert run["id"] in printed.out and f"{run['value']:.2f}" in printed.out
    assert 'src="data:image/png;base64,' in printed.out  # images that a change flips
    assert "loss.label_smoothing: 0 → 0.1" in printed.out  # of a certificate and of a recipe


def test_on_a_terminal_the_page_goes_into_the_study_s_folder(
    finished: Finished, home: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    said = call("report", finished.study, "--home", home, "--format", "html")
    place = home / "studies" / finished.study / "report.html"
    assert said.out.strip() == str(place) and place.read_text("utf-8").endswith("</html>\n")


def test_figures_are_written_beside_the_answer(
    finished: Finished, home: Path, call: Call, tmp_path: Path
) -> None:
    folder = tmp_path / "figures"
    said = call("report", finished.study, "--home", home, "--figures", folder, "--format", "json")
    assert said.json["study"] == finished.study
    names = {"waterfall", "forest", "split", "interactions", "curves", "cost"}
    assert {path.stem for path in folder.iterdir()} == names
    assert {path.suffix for path in folder.iterdir()} == {".pdf", ".svg", ".png"}
    assert f"wrote {3 * len(names)} files into {folder}" in said.err
    assert open_study(finished.study, home).figures.keys() == names


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--format", "htm"), "choose from table, json, markdown, csv, latex, html"),
        (("--watch", "-o", "page.html"), "--watch serves a page and writes no file"),
        (("--watch", "--figures", "there"), "--watch serves a page and writes no file"),
        (("--watch", "--format", "json"), "--watch serves a page, html"),
        (("--watch", "--port", "70000"), "--port 70000: give a number from 0"),
        (("--figures", "/dev/null/there"), "--figures /dev/null/there: Not a directory"),
    ],
)
def test_what_cannot_be_is_one_message(
    finished: Finished, home: Path, call: Call, words: tuple[str, ...], told: str
) -> None:
    said = call("report", finished.study, "--home", home, *words)
    assert (said.code, said.out) == (2, "") and told in said.err
    assert said.err.count("\n") == 1


def test_a_study_that_is_not_there_has_no_page(home: Path, call: Call) -> None:
    for words in (("--format", "html"), ("--watch",)):
        said = call("report", "nosuch", "--home", home, *words)
        assert said.code == 2 and "there is no study 'nosuch'" in said.err


def test_a_page_of_a_home_that_lost_files_says_so_and_is_made(
    finished: Finished, home: Path, call: Call
) -> None:
    for place, run in enumerate(finished.said.json["runs"]):
        folder = home / "runs" / run["id"]
        (folder / "metrics.jsonl").write_text('[]\nnot json\n{"epoch": "x"}\n')
        (folder / "environment.json").write_text(("[]", "{", "")[place % 3])
        (folder / "predictions.npz").write_bytes(b"")
    (home / "studies" / finished.study / "certificates.json").write_text(
        json.dumps({"schema_version": 1, "certificates": [{"arm": "ls", "parent": "base"}]})
    )
    said = call("report", finished.study, "--home", home, "--format", "html")
    assert said.code == 0, said.err
    assert "No run has a point of its curve yet" in said.out
    assert re.search(r'<th scope="row">ls</th><td>base</td>', said.out)
    shutil.rmtree(home / "studies" / finished.study / "certificates.json", ignore_errors=True)


def test_a_user_s_own_component_is_drawn_though_its_code_is_not_imported(
    finished: Finished, home: Path, call: Call
) -> None:
    folder = home / "studies" / finished.study
    text = (folder / "plan.yaml").read_text("utf-8")
    (folder / "plan.json").unlink()
    named = re.sub(r"(?m)^(\s+- )ls$", r"\1nowhere:Smooth", text)  # in the arms
    labelled = named.replace("label: +ls", "label: +nowhere:Smooth")
    labelled = labelled.replace("component: ls", "component: its own key")
    assert text != named != labelled
    (folder / "plan.yaml").write_text(labelled)
    ledger = Ledger(home)
    told = story_of(thaw(ledger.study_folder(finished.study))[0], ledger)
    arm = next(arm for arm in told.arms if arm.components == ("nowhere:Smooth",))
    assert arm.side == "training"
    assert "nowhere:Smooth" in render_page(told)
    said = call("report", finished.study, "--home", home, "--format", "html")
    assert said.code == 0, said.err


def test_a_page_and_figures_load_no_torch(finished: Finished, home: Path, tmp_path: Path) -> None:
    words = ["report", finished.study, "--home", str(home), "--format", "html", "-o", "page.html"]
    code = (
        "import sys\nfrom ablations.cli import main\n"
        f"code = main({[*words, '--figures', 'there']!r})\n"
        f"print(code, sorted({{'torch', 'timm', 'pytorch_lightning', 'wandb'}} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "0 []\n"
