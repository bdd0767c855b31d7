import json
import shutil
from pathlib import Path

import pytest

from ablations import proving
from ablations.launch.local import LocalPool
from tests.ablations.conftest import QUICK, ablate, snapshot

LAZY = """
from dataclasses import dataclass
from recipes import Component, Kind, hook

def nothing(network):
    return network

def same(images, targets):
    return images, targets

def heavier(optimizer):
    optimizer.param_groups[0]["weight_decay"] = 0.1
    return optimizer

@dataclass(frozen=True)
class Lazy(Component):
    key, kind = "lazy", Kind.ARCHITECTURE
    def edits(self, recipe):
        return {"custom.lazy": hook("model", nothing)}

@dataclass(frozen=True)
class Same(Component):
    key, kind = "same", Kind.AUGMENTATION
    def edits(self, recipe):
        return {"custom.same": hook("batch", same)}

@dataclass(frozen=True)
class Heavier(Component):
    key, kind = "heavier", Kind.TRAINING
    def edits(self, recipe):
        return {"custom.heavier": hook("optimizer", heavier)}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's components, one of which does what it says."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine.py").write_text(LAZY)
    return folder


@pytest.mark.parametrize(
    ("name", "must"),
    [
        ("Lazy", "first weights, statistics"),
        pytest.param("Same", "inputs, targets", marks=pytest.mark.slow),
    ],
)
def test_a_component_that_does_nothing_is_refused_and_nothing_is_left(name, must, folder):
    said = ablate("--base", "tiny", "--add", f"mine:{name}", *QUICK, folder=folder)
    assert said.code == 2 and not said.out
    assert "not every arm got its treatment, and nothing was trained" in said.err
    assert f"and none of {must}" in said.err
    assert "Traceback" not in said.err
    assert snapshot(folder / "ablate-home") == {}


def test_a_plan_shows_what_a_users_component_changes(folder):
    said = ablate(
        *("plan", "--base", "tiny", "--add", "mine:Heavier", *QUICK, "--format", "json"),
        folder=folder,
    )
    assert said.code == 0, said.err
    base, heavier = said.json["certificates"]
    assert base["parent"] is None and base["treated"]
    assert heavier["treated"] and "weight decay" in heavier["changed"]
    assert "gradients" in heavier["unchanged"]


def test_certificates_lie_with_the_study_and_with_its_runs(finished):
    study = finished.home / "studies" / finished.study
    stored = json.loads((study / "certificates.json").read_text())["certificates"]
    assert [one["arm"] for one in stored] == ["base", "ls", "ls,se", "se"]
    assert all(one["treated"] for one in stored)
    for run in finished.said.json["runs"]:
        path = finished.home / "runs" / run["id"] / "certificate.json"
        own = json.loads(path.read_text())["certificates"]
        assert own == [one for one in stored if one["arm"] == run["arm"]]
    notes = [note for note in finished.said.json["notes"] if note.startswith("certified")]
    assert len(notes) == 1
    assert "ls (label smoothing, loss)" in notes[0]


def test_a_study_without_certificates_says_so(home, finished, call):
    (home / "studies" / finished.study / "certificates.json").unlink()
    found = call("report", finished.study, "--home", home, "--format", "json").json["notes"]
    assert any(note.startswith("certified") for note in found)  # those of the runs
    for path in (home / "runs").rglob("certificate.json"):
        path.unlink()
    found = call("report", finished.study, "--home", home, "--format", "json").json["notes"]
    told = "no certificate is kept of ls against base, ls,se against ls, se against base: "
    assert any(note.startswith(told) for note in found)


@pytest.mark.parametrize("text", ['{"schema_version": 1, "certificates": 3}', "{}", "not json"])
def test_a_damaged_certificate_costs_no_answer(text, home, finished, call):
    path = home / "studies" / finished.study / "certificates.json"
    path.write_text(text)
    said = call("report", finished.study, "--home", home, "--format", "json")
    assert said.code == 0
    assert any(str(path) in note and "damaged" in note for note in said.json["notes"])


def test_what_was_looked_at_is_remembered_until_the_code_changes(finished, monkeypatch, tmp_path):
    from ablations.ledger import Ledger
    from ablations.request import Request
    from ablations.study import Options, make_jobs, plan_study

    home = Path(shutil.copytree(finished.home, tmp_path / "home"))
    settings = ("optim.epochs=1", "optim.warmup_epochs=0")
    prepared = plan_study(Request(base="tiny", add="ls,se", seeds=2, settings=settings), home)
    ledger = Ledger(home)
    jobs = make_jobs(prepared, prepared.plan.runs, ledger, Options())
    executions = {job.arm: job.execution for job in jobs}
    asked = []

    class Noted(LocalPool):
        """Notes what it is asked."""

        def run(self, jobs):
            asked.append([job.arm for job in jobs])
            return super().run(jobs)

    def prove():
        return proving.prove(pool, prepared.plan, executions, ledger, threads=1, say=print)

    with Noted(2, ("cpu",), 1) as pool:
        found = prove()
        assert asked == [[]]
        assert all(one.treated for one in found)
        monkeypatch.setattr(proving, "_code", lambda: "another interpreter")
        assert [one.plain() for one in prove()] == [one.plain() for one in found]
    assert asked[1] == ["base", "ls", "ls,se", "se"]
    assert [path.name for path in (ledger.cache / "observations").iterdir()] == [
        "another interpreter"
    ]
