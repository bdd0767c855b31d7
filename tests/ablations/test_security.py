"""Homes, plans and requests of somebody else: nothing leaves the home, runs, or tells a secret."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablations.errors import RequestError
from ablations.frozen import thaw
from ablations.ledger import Ledger
from lightning_modules.checkpoint_files import FOLDER, newest
from lightning_modules.data import parse_data
from lightning_modules.data.errors import DataError
from lightning_modules.data.room import locked
from lightning_modules.files import refuse_everybody, write_json
from recipes import load, parse
from recipes.yaml import dump_tree, read_text, read_tree
from tests.ablations.conftest import Said, ablate
from tests.ablations.made_up import CLEAR, carry_out, frozen

Call = Callable[..., Said]
LEAVING = (
    "../../x", "..", ".", "", "/etc", "a/b", "a\\b", "a\0b", "a\nb", "~root", "C:\\x", "x" * 300,
    "\uff0e\uff0e\uff0fx", "\u2025x", "a\u2215b", "a\u2044b", "\u202ex", "-rf", "$(touch x)", "a;b",
)  # fmt: skip
RUN = "0123456789abcdef0123"


@pytest.mark.parametrize("name", LEAVING)
def test_no_name_leaves_the_home(name: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    by_run = (ledger.run_folder, ledger.status, ledger.result, ledger.files, ledger.is_held)
    for ask in (*by_run, ledger.training_folder, ledger.study_folder):
        with pytest.raises(RequestError):
            ask(name)
    assert ledger.find_run(name) is None


@pytest.mark.parametrize("look_alike", ["\u0430" * 20, "\uff11" * 20, "\u0661" * 20])
def test_an_identity_has_ascii_letters_and_digits(look_alike: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="damaged"):
        Ledger(tmp_path).run_folder(look_alike)


def test_a_training_that_a_status_names_stays_in_the_home(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "home")
    ledger.begin(RUN, load("tiny"), 0, "digits")
    path = ledger.run_folder(RUN) / "status.json"
    write_json(path, {"schema_version": 1, "status": "running", "training": "../../elsewhere"})
    elsewhere = tmp_path / "elsewhere"
    write_json(elsewhere / "results.json", {"schema_version": 1, "results": {RUN: {"top1": 100}}})
    with pytest.raises(RequestError, match="damaged"):
        ledger.recover(RUN)
    ledger.forget(RUN)  # looks at its own folder alone
    assert (elsewhere / "results.json").exists()


EVIL = """
from pathlib import Path
from typing import Any
Path({marker!r}).touch()
from dataclasses import dataclass
from recipes import Component, Kind
@dataclass(frozen=True)
class Blur(Component):
    '''Touches a file when it is imported.'''
    key, kind = 'blur', Kind.TRAINING
    def edits(self, recipe):
        return {{'optim.lr': recipe.optim.lr / 2}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of somebody else, whose plan names a module, and a secret of the environment."""
    home = tmp_path_factory.mktemp("made") / "home"
    plan, ledger = frozen(home)
    carry_out(ledger, plan, CLEAR)
    path = home / "studies/mine/plan.yaml"
    tree = read_tree(read_text(path), "plan")
    tree["request"]["add"] = "evil:Blur,se,do"
    tree["notes"] = ["${oc.env:MY_SECRET}"]
    for arm in tree["arms"]:
        arm["components"] = ["evil:Blur" if one == "ls" else one for one in arm["components"]]
    path.write_text(dump_tree(tree))
    for recipe in home.glob("runs/*/recipe.yaml"):
        hook = {"hook": "loss", "target": "evil:Blur", "source": "0" * 20}
        tree = read_tree(read_text(recipe), "recipe")
        recipe.write_text(dump_tree({**tree, "custom": {"mine": hook}}))
    return home


@pytest.fixture
def theirs(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "theirs"))


def test_reading_a_home_imports_no_code_that_it_names(
    theirs: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, here = tmp_path / "was imported", Path.cwd()
    (here / "evil.py").write_text(EVIL.format(marker=str(marker)))
    monkeypatch.syspath_prepend(str(here))
    runs = sorted(path.name for path in (theirs / "runs").iterdir())
    for words in (
        ("report", "mine"), ("report", "mine", "--format", "json"), ("status",), ("status", "mine"),
        ("list", "studies"), ("diff", "mine", "mine"), ("diff", runs[0], runs[1]),
        ("show", theirs / "runs" / runs[0] / "recipe.yaml"), ("doctor", "--check"),
    ):  # fmt: skip
        said = call(*words, "--home", theirs)
        assert said.code in (0, 1), (words, said.err)
        assert not marker.exists(), words
    assert thaw(theirs / "studies/mine")[1].add == "evil:Blur,se,do"
    parse("evil:Blur")  # where a command names it, it is imported
    assert marker.exists()


@pytest.mark.parametrize(
    "line",
    [
        "study: !!python/object/apply:os.system ['touch marker']",
        "study: !!python/object/new:os.system ['touch marker']",
        "study: !!python/name:os.system",
        "study: !!python/module:antigravity",
    ],
)
def test_a_plan_constructs_no_objects(line: str, theirs: Path, call: Call) -> None:
    path = theirs / "studies/mine/plan.yaml"
    path.write_text(f"{line}\n{path.read_text()}")
    said = call("report", "mine", "--home", theirs)
    assert (said.code, said.out) == (2, "")
    assert "plan.yaml" in said.err and "Traceback" not in said.err
    assert not Path("marker").exists()


def test_a_plan_reads_no_environment(
    theirs: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", "canary")
    said = call("report", "mine", "--home", theirs)
    assert "canary" not in said.out + said.err
    assert "oc.env" in said.out


class Marked:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.mkdir, ("marker",))


def test_predictions_are_not_unpickled(theirs: Path, call: Call) -> None:
    runs = sorted((theirs / "runs").iterdir())[:2]
    for run in runs:
        loaded = np.array([Marked()], dtype=object)
        np.savez(run / "predictions.npz", predicted=loaded, loss=loaded)
        for name in ("correct.npy", "minival_correct.npy"):
            np.save(run / name, loaded)
    said = call("diff", runs[0].name, runs[1].name, "--home", theirs)
    assert said.code == 0 and "is damaged" in said.out
    assert call("report", "mine", "--home", theirs).code == 0
    assert not Path("marker").exists()


SECRET = "s3cr3t-canary"


@pytest.mark.parametrize(
    "data",
    [
        f"wds:https://user:{SECRET}@host/train.tar,https://host/val.tar",
        f"wds:https://{SECRET}@host/train.tar,https://host/val.tar",
        f"wds:https://host/train.tar?token={SECRET},https://host/val.tar",
        f"wds:HTTPS://user:{SECRET}@host/train-{{0..9}}.tar,https://host/val.tar",
        f"wds:https://host/train.tar#{SECRET},https://host/val.tar",
        f"wds:https://user:{SECRET}@[host/train.tar,https://host/val.tar",
        f"wds:ftp://user:{SECRET}@host/train.tar,https://host/val.tar",
        f"https://user:{SECRET}@host/train.tar",
        f"imagefolder:https://user:{SECRET}@host/images",
        f"hf:https://user:{SECRET}@host/images",
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_repeated(data: str, call: Call) -> None:
    with pytest.raises(DataError) as refused:
        parse_data(data)
    assert SECRET not in str(refused.value)
    said = call("plan", "--base", "tiny", "--add", "ls", "--data", data, "--home", "home")
    assert said.code == 2 and SECRET not in said.out + said.err
    assert not [path for path in Path("home").rglob("*") if SECRET in str(path)]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    thesis = elsewhere / "thesis"
    thesis.write_text("all of it")
    ledger = Ledger(tmp_path / "home")
    (ledger.home / "runs").mkdir(parents=True)
    (ledger.home / "runs" / RUN).symlink_to(elsewhere)
    with pytest.raises(RequestError, match="is a link"), ledger.claim(RUN, lambda: None):
        pass
    lock = tmp_path / "room.lock"
    lock.symlink_to(thesis)
    with pytest.raises(OSError, match=r"symbolic links|ELOOP"), locked(lock):
        pass
    folder = tmp_path / FOLDER
    folder.symlink_to(elsewhere)
    assert newest(folder, [load("tiny")]) is None
    assert not folder.is_symlink()
    assert [path.name for path in elsewhere.iterdir()] == ["thesis"]
    assert thesis.read_text() == "all of it"


def test_a_log_is_not_written_through_a_link(tmp_path: Path) -> None:
    from ablations.launch.job import _log

    (tmp_path / "profile").write_text("mine")
    (tmp_path / "log.txt").symlink_to(tmp_path / "profile")
    with _log(tmp_path / "log.txt"):
        os.write(1, b"said\n")
    assert (tmp_path / "profile").read_text() == "mine"
    assert (tmp_path / "log.txt").read_text() == "said\n"


def test_everybody_may_read_and_the_group_write_but_nobody_else(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        refuse_everybody()
        ledger = Ledger(tmp_path / "home")
        ledger.check_writable()
        with ledger.claim(RUN, lambda: None):
            ledger.begin(RUN, load("tiny"), 0, "digits")
        assert os.umask(0) == 0o002
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in ledger.home.rglob("*")}
    assert modes and not [path for path, mode in modes.items() if mode & 0o002]
    assert modes[ledger.run_folder(RUN) / "status.json"] == 0o664


CANARIES = {
    name: f"c4n4ry{number:034d}"
    for number, name in enumerate(
        ("WANDB_API_KEY", "ABLATE_AUTHORIZATION", "HF_TOKEN", "GITHUB_TOKEN",
         "AWS_SECRET_ACCESS_KEY", "MY_PASSWORD")
    )
}  # fmt: skip


@pytest.mark.slow
def test_no_secret_of_the_environment_reaches_a_home(tmp_path: Path) -> None:
    """Study, failure, report and W&B's offline files: none of them holds a canary."""
    canaries = {**CANARIES, "https_proxy": f"http://user:{CANARIES['HF_TOKEN']}@127.0.0.1:9"}
    words = ("--base", "tiny", "--seeds", "1", "--set", "optim.epochs=1", "--home", "home")
    words += ("--set", "optim.warmup_epochs=0")
    said = [ablate(*words, "--add", "ls", folder=tmp_path, variables=canaries)]
    bad = ("--time-limit", "0.01s", "--study", "late", "--add", "se")
    said.append(ablate(*words, *bad, folder=tmp_path, variables=canaries))
    assert [one.code for one in said] == [0, 1], said
    assert (tmp_path / "home/tracking/wandb").is_dir()
    files = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert len(files) > 40
    secrets = [value.encode() for value in CANARIES.values()]
    leaking = [path for path in files if any(one in path.read_bytes() for one in secrets)]
    assert not leaking
    assert not any(one.decode() in text.out + text.err for one in secrets for text in said)
