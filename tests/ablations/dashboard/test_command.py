"""`ablate dashboard STUDY`, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ablations.conftest import ablate
from tests.ablations.dashboard.told import made_up
from tests.stub_wandb import client_environment, dead_address


@pytest.fixture
def home(tmp_path: Path) -> Path:
    _, ledger = made_up(tmp_path / "home")
    return ledger.home


def test_who_is_not_logged_in_is_told_what_to_do(call, home, monkeypatch, tmp_path):
    for variable, value in client_environment(dead_address(), tmp_path).items():
        if variable != "WANDB_API_KEY":
            monkeypatch.setenv(variable, value)
    said = call("dashboard", "mine", "--home", home)
    assert (said.code, said.out) == (2, "")
    for words in ("wandb login", "WANDB_API_KEY", "ablate report mine --format html"):
        assert words in said.err


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_a_mode_that_keeps_the_client_offline_is_told(call, home, monkeypatch, mode):
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setenv("WANDB_API_KEY", "local-" + "k" * 40)
    said = call("dashboard", "mine", "--home", home)
    assert (said.code, said.out) == (2, "")
    assert f"WANDB_MODE={mode}: unset it" in said.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nothing",), "there is no study 'nothing'"),
        (("mine", "--format", "html"), "choose table or json"),
        (("mine", "--rope", "-1"), "--rope"),
        (("sync", "mine", "--rope", "1"), "not with sync"),
        (("a", "b"), "dashboard sync STUDY"),
    ],
)
def test_a_mistake_is_one_message(call, home, words, told):
    said = call("dashboard", *words, "--home", home)
    assert (said.code, said.out) == (2, "")
    assert told in said.err
    assert "Traceback" not in said.err


@pytest.mark.slow
def test_the_command_publishes_what_lacks_and_prints_where_the_boards_are(server, home, tmp_path):
    variables = server.environment(tmp_path / "client")
    words = ("dashboard", "mine", "--home", home, "--wandb-project", "ours")
    said = ablate(*words, "--format", "json", folder=tmp_path, variables=variables)
    assert said.code == 0, said.err
    assert "published 12 runs" in said.err
    assert len(server.runs) == 13
    arms = {run.config["arm"]["value"] for run in server.runs.values() if "arm" in run.config}
    assert arms == {"base", "ls(epsilon=0.2)", "ls(epsilon=0.2),se", "se"}
    for name in ("workspace", "report", "analysis"):
        assert said.json[name].startswith(f"{server.address}/stub-team/ours")
    again = ablate(*words, folder=tmp_path, variables=variables)
    assert again.code == 0, again.err
    assert "published" not in again.err
    assert all(said.json[name] in again.out for name in ("workspace", "report", "analysis"))
    assert (len(server.runs), len(server.views)) == (13, 2)
    assert json.loads((home / "studies" / "mine" / "dashboard.json").read_text())


@pytest.mark.slow
def test_a_dead_server_is_one_message_and_exit_1(home, tmp_path):
    variables = client_environment(dead_address(), tmp_path / "client")
    said = ablate("dashboard", "mine", "--home", home, folder=tmp_path, variables=variables)
    assert (said.code, said.out) == (1, "")
    assert "nothing is lost" in said.err
    assert "Traceback" not in said.err
