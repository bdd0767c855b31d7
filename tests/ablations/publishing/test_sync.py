"""`ablate dashboard sync STUDY` says what it did, and does it once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ablations.conftest import Said
from tests.ablations.publishing.conftest import EPOCHS, Study
from tests.stub_wandb import StubServer, dead_address

Call = Callable[..., Said]


@pytest.fixture
def asked(study: Study, call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """The command, of this study."""
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))
    monkeypatch.setenv("WANDB_SILENT", "true")

    def ask(*words: str) -> Said:
        return call("dashboard", "sync", *(words or ("mine",)), "--home", study.ledger.home)

    return ask


def test_what_the_server_lacks_is_uploaded_once(
    study: Study, asked: Call, server: StubServer
) -> None:
    first, *_, last = study.runs
    study.make(first)
    study.publish()
    study.begin(last, 1)  # and goes on: that is its own command's
    said = asked()
    assert (said.code, said.err) == (0, "")
    assert said.out == "study mine: uploaded 1 run to W&B, into ablate\n"
    [run] = server.runs.values()
    assert run.lines_received == EPOCHS and not study.folders()
    requests = len(server.requests)
    again = asked()
    assert (again.code, len(server.requests)) == (0, requests)
    assert "uploaded nothing" in again.out


def test_nobody_who_is_logged_in_is_told_what_to_do(
    study: Study, asked: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked().code == 0  # there is nothing to upload
    study.make(study.runs[0])
    said = asked()
    assert (said.code, said.out) == (2, "")
    assert "1 run of study mine to be uploaded" in said.err and "`wandb login`" in said.err
    monkeypatch.setenv("WANDB_MODE", "offline")
    said = asked()
    assert said.code == 2 and "WANDB_MODE=offline lets nothing be uploaded" in said.err
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_DISABLED", "true")
    said = asked()
    assert said.code == 2 and "WANDB_DISABLED=true lets nothing be uploaded" in said.err
    assert asked("other").code == 2


@pytest.mark.slow
def test_a_dead_server_is_told_in_a_line(
    study: Study, asked: Call, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.make(*study.runs[:2])
    monkeypatch.setenv("WANDB_BASE_URL", dead_address())
    said = asked()
    assert (said.code, said.out) == (1, "")
    assert said.err.count("\n") == 1 and "left: 2 runs: " in said.err
    log = study.ledger.home / "tracking/studies/mine/log.txt"
    assert "Traceback" in log.read_text()
