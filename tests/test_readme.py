"""The README's commands: there, and understood. `.ci/run` runs them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ablations.cli import _parse, main
from ablations.designs import DESIGNS
from ablations.replay import replayed
from recipes import parse

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def marked(name: str) -> str:
    """Return the text of the block below a marker, as CI reads it."""
    return subprocess.run(
        [sys.executable, ROOT / ".ci/readme.py", name], capture_output=True, text=True, check=True
    ).stdout.strip()


def job(name: str) -> list[str]:
    """Return the words of a block's last command, without the folder of its program."""
    program, *words = shlex.split(marked(name).rsplit("&&", 1)[-1])
    return [Path(program).name, *words]


def shown() -> list[str]:
    """Return every `ablate` command in the README's blocks, without comments."""
    blocks = re.findall(r"```(?:sh|console)?\n(.*?)```", README, re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("ablate ")]


@pytest.mark.parametrize(("name", "program"), [("demo", "ablate"), ("test", "pytest")])
def test_the_marked_blocks_are_there(name: str, program: str) -> None:
    assert f"<!-- command: {name} -->" in README
    assert job(name)[0] == program


def test_the_demonstration_is_what_was_promised() -> None:
    arguments = _parse(job("demo")[1:])
    assert (arguments.base, arguments.data) == ("tiny", None)  # the embedded digits
    assert len(parse(arguments.add)) == 5
    assert arguments.seeds in (None, 3)
    assert arguments.design in (None, *DESIGNS)


def test_the_demonstration_plans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    code = main([*job("demo")[1:], "--dry-run", "--format", "json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    planned = json.loads(said.out)
    assert {row["outcome"] for row in planned["contrasts"]} == {"applied"}
    assert planned["missing"] == planned["runs"] == 3 * len(planned["arms"])
    assert any("digits demonstration" in note for note in planned["notes"])


def test_the_replay_that_is_shown_is_what_is_answered() -> None:
    block = README.split("## Published ladders")[1].split("```")[1]
    answered = replayed("resnet-rs", "table")[0].splitlines()
    assert [line for line in block.splitlines() if line not in (*answered, "...")] == []


@pytest.mark.parametrize("line", shown())
def test_every_command_shown_is_understood(line: str) -> None:
    assert callable(_parse(shlex.split(line, comments=True)[1:]).carry_out)
