from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ablations import RequestError, plan
from ablations.answers import outcomes_of
from ablations.frozen import freeze, thaw
from ablations.kept import kept
from ablations.ledger import Ledger
from ablations.plans import Plan
from ablations.report import document
from ablations.study import Prepared
from recipes import fingerprint
from recipes.yaml import read_tree

SPECS = [
    ("ladder", "ls,sd,ra,se,resnetd"),
    ("ladder", "wd(value=linear(1e-4, 4e-5)),cos"),  # a schedule
    ("one-at-a-time", "epochs,ema,do"),
    ("leave-one-out", "ls(0.2),se"),
    ("factorial", "ls,se"),
    ("ladder", "ls,wd(1e-4),se"),  # one is there already
    ("leave-one-out", "ls(0.1|0.2),se"),  # levels
    ("bracket", "ls,sd"),
    ("screen", "ls,sd,se"),
    ("auto", "ls,sd,se"),
    ("shapley", "ls,sd,se"),
    ("blocks", "ls,se"),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return plan("tiny", "ls,se", seeds=2, home=tmp_path_factory.mktemp("home"))


def plain(plan: Plan) -> object:
    """What two plans must agree in: everything but facts, which are the backbone's."""
    arms = [(arm.name, arm.components, fingerprint(arm.recipe)) for arm in plan.layout.arms]
    return plan.study, plan.base, arms, plan.runs, plan.seeds, plan.layout.split, plan.late


@pytest.mark.parametrize(("design", "add"), SPECS)
def test_a_plan_survives_freezing(design: str, add: str, tmp_path: Path) -> None:
    made = plan("tiny", add, design=design, seeds=2, home=tmp_path)
    labels = [contrast.label for contrast in made.plan.layout.contrasts]
    late = dataclasses.replace(made.plan, late=frozenset(labels[:1]))
    freeze(late, made.request, tmp_path / "study", revision=1)
    found, request, revision = thaw(tmp_path / "study")
    assert (request, revision) == (made.request, 1)
    assert plain(found) == plain(late)
    assert document(found, []) == document(late, [])
    text = (tmp_path / "study/plan.yaml").read_text()
    assert kept(tmp_path / "study/plan.yaml", text) == read_tree(text, "the plan")


def test_a_thawed_plan_freezes_to_the_same_text(prepared: Prepared, tmp_path: Path) -> None:
    freeze(prepared.plan, prepared.request, tmp_path / "one")
    found, request, _ = thaw(tmp_path / "one")
    freeze(found, request, tmp_path / "two")
    assert (tmp_path / "one/plan.yaml").read_text() == (tmp_path / "two/plan.yaml").read_text()


def test_an_earlier_revision_is_kept_beside(prepared: Prepared, tmp_path: Path) -> None:
    freeze(prepared.plan, prepared.request, tmp_path)
    wider = dataclasses.replace(prepared.request, seeds=3)
    freeze(prepared.plan, wider, tmp_path, revision=2)
    assert thaw(tmp_path)[1:] == (wider, 2)
    assert thaw(tmp_path, 1)[1:] == (prepared.request, 1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"seeds": 2', '"seeds": 3'),
        lambda text: text.replace('"schema_version": 1', '"schema_version": 2', 1),
    ],
)
def test_the_quick_copy_of_a_plan_is_only_believed_where_it_is_that_plan(
    prepared: Prepared, tmp_path: Path, damage: Callable[[str], str]
) -> None:
    freeze(prepared.plan, prepared.request, tmp_path)
    copy = tmp_path / "plan.json"
    whole = copy.read_text()
    assert damage(whole) != whole
    copy.write_text(damage(whole))
    found, request, _ = thaw(tmp_path)
    assert request == prepared.request
    assert plain(found) == plain(prepared.plan)
    assert copy.read_text() == whole  # made again


def test_a_plan_that_was_changed_is_not_hidden_by_its_copy(
    prepared: Prepared, tmp_path: Path
) -> None:
    freeze(prepared.plan, prepared.request, tmp_path)
    path = tmp_path / "plan.yaml"
    path.write_text(path.read_text().replace("seeds: 2", "seeds: 3", 1))
    assert thaw(tmp_path)[1].seeds == 3


def test_a_study_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no study 'mine' in"):
        thaw(tmp_path / "home" / "studies" / "mine")


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: "", "empty"),
        (lambda text: "just words", "does not hold a mapping"),
        (lambda text: text[: len(text) // 2], "missing"),
        (lambda text: text[: text.index("split:")], "damaged"),
        (lambda text: text[: text.index("arms:")] + "arms: []\n", "damaged.*do not fit"),
        (replaced("schema_version: 1", "schema_version: 2"), "schema version 2.*reads 1"),
        (replaced("schema_version: 1\n", ""), "schema version None"),
        (replaced("revision: 1", "revision: first"), "damaged.*first"),
        (replaced("kind: regularization", "kind: bogus"), "damaged.*bogus"),
        (replaced("treatment: ls", "treatment: lz"), "damaged.*do not fit"),
        (replaced("seeds:\n- 0\n", "seeds:\n- x\n"), "damaged.*x"),
        (replaced("seeds:\n- 0\n", "seeds:\n"), "damaged.*do not fit"),
        (replaced("lr: 0.4", "lr: 0.5"), "damaged.*arm base.*fingerprint"),
        (replaced("lr: 0.4", "lr: fast"), "optim.lr.*fast"),
        (replaced("seeds: 2", "seeds: none"), "seeds = 'none' is not int"),
        (replaced("name: base", "name: [base]"), "damaged"),
    ],
)
def test_damage_is_told_with_the_file(
    prepared: Prepared, tmp_path: Path, damage: Callable[[str], str], words: str
) -> None:
    freeze(prepared.plan, prepared.request, tmp_path)
    path = tmp_path / "plan.yaml"
    path.write_text(damage(path.read_text()))
    with pytest.raises(RequestError, match=words) as caught:
        thaw(tmp_path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_text_is_told(prepared: Prepared, tmp_path: Path) -> None:
    freeze(prepared.plan, prepared.request, tmp_path)
    (tmp_path / "plan.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RequestError, match=r"plan.yaml is not a text file"):
        thaw(tmp_path)


def test_a_report_needs_no_code_of_the_users(tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    module.write_text(
        "from dataclasses import dataclass\n"
        "from recipes import Component, Kind\n"
        "@dataclass(frozen=True)\n"
        "class Slow(Component):\n"
        "    '''Half the learning rate.'''\n"
        "    key, kind = 'slow', Kind.TRAINING\n"
        "    def edits(self, recipe):\n"
        "        return {'optim.lr': recipe.optim.lr / 2}\n"
    )
    program = (
        "from pathlib import Path; from ablations import plan; from ablations.frozen import freeze;"
        " made = plan('tiny', 'ls,mine:Slow', seeds=1, home='home');"
        " freeze(made.plan, made.request, Path('study'))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    module.unlink()
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    found = thaw(tmp_path / "study")[0]
    assert [arm.name for arm in found.layout.arms] == ["base", "ls", "ls,mine:Slow"]
    assert str(found.layout.arms[-1].components[-1]) == "mine:Slow"
    labels = [
        row["label"]
        for row in document(found, outcomes_of(found, Ledger(tmp_path / "home")))["contrasts"]
    ]
    assert labels == ["+ls", "+mine:Slow"]


def test_seeds_by_arm_and_the_alias_table_survive_freezing(tmp_path: Path) -> None:
    made = plan("tiny", "ls,sd,ra,se,resnetd", question="average_over_others", budget=28,
                design="screen", seeds=1, home=tmp_path)  # fmt: skip
    freeze(made.plan, made.request, tmp_path / "study")
    found, request, _ = thaw(tmp_path / "study")
    assert request == made.request
    assert found.runs == made.plan.runs and len(found.runs) == 28
    assert found.seeds == made.plan.seeds
    assert found.layout.aliases == made.plan.layout.aliases != ()
    assert found.layout.contrasts == made.plan.layout.contrasts
