"""Dummy arms: true zeros beside the real ones, which they leave as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations import plan
from ablations.certificate import check, pairs
from ablations.designs import DESIGNS, lay_out
from ablations.errors import RequestError
from ablations.nulls import with_nulls
from ablations.plans import COMPONENTS, DESCRIBED, NULL
from lightning_modules import Execution
from recipes import diff, fingerprint, load, parse
from tests.ablations.certified import certificates

TINY = load("tiny")


@pytest.mark.parametrize("design", DESIGNS)
def test_what_was_there_stays_as_it_was(design: str) -> None:
    layout = lay_out(design, TINY, parse("ls,sd,se"))
    found = with_nulls(layout)
    assert found.arms[: len(layout.arms)] == layout.arms
    assert found.contrasts[: len(layout.contrasts)] == layout.contrasts
    assert (found.split, found.full) == (layout.split, layout.full)
    assert all(one.family in (COMPONENTS, DESCRIBED) for one in layout.contrasts)
    assert not layout.dummies


@pytest.mark.parametrize("design", DESIGNS)
def test_every_dummy_is_another_draw_of_an_arm_that_is_there(design: str) -> None:
    layout = lay_out(design, TINY, parse("ls,sd,se"))
    found = with_nulls(layout)
    nulls = found.contrasts[len(layout.contrasts) :]
    assert len({fingerprint(arm.recipe) for arm in found.arms}) == len(found.arms)
    assert found.dummies == {arm.name for arm in found.arms[len(layout.arms) :]}
    for one in nulls:
        assert (one.family, one.kind, one.component) == (NULL, None, "null")
        assert one.control is not None and one.treatment is not None
        control, treatment = found.arm(one.control), found.arm(one.treatment)
        assert set(diff(control.recipe, treatment.recipe)) == {"optim.redraw"}
        assert one.weights == {one.control: -1.0, one.treatment: 1.0}
        assert treatment.name == ",".join(map(str, treatment.components))
    assert len({one.label for one in nulls}) == len(nulls)  # each a draw of its own
    full = ["in_recipe"] if design != "one-at-a-time" else []  # which has no full recipe
    assert [one.estimand for one in nulls] == ["alone", "alone", *full]


def test_dummies_have_as_many_runs_as_what_they_repeat() -> None:
    from dataclasses import replace

    layout = lay_out("leave-one-out", TINY, parse("ls,se"))
    found = with_nulls(replace(layout, seeds=1, replicates={"base": 4, "ls,se": 3}))
    assert found.replicates == {
        **{"base": 4, "ls,se": 3, "null": 4, "null(redraw=2)": 4},
        "ls,se,null(redraw=3)": 3,
    }


def test_every_dummy_is_certified_against_what_it_repeats(execution: Execution) -> None:
    layout = with_nulls(lay_out("ladder", TINY, parse("ema,se")))
    proven = {(parent.name, arm.name) for parent, arm in pairs(layout)}
    assert {(one.control, one.treatment) for one in layout.contrasts if one.family == NULL} < proven
    found = certificates(layout, execution)
    check(found)
    changed = next(one.changed for one in found if one.arm == "ema,se,null(redraw=3)")
    assert {"random streams", "first weights", "inputs"} < set(changed)
    structure = {"modules", "parameters", "optimizer", "learning rate", "augmentation", "average"}
    assert not structure & set(changed)


def test_a_plan_has_them_where_they_are_asked_for(tmp_path: Path) -> None:
    without = plan("tiny", "ls,se", home=tmp_path).plan
    made = plan("tiny", "ls,se", null=True, home=tmp_path).plan
    assert {run.id for run in without.runs} < {run.id for run in made.runs}
    assert len(made.runs) - len(without.runs) == 3 * len(made.layout.dummies) == 9
    assert made.ends == without.ends == ("base", "ls,se")  # whose weights are kept and timed


def test_null_by_hand_is_a_component_like_others(tmp_path: Path) -> None:
    made = plan("tiny", "ls,null", home=tmp_path).plan
    assert [one.family for one in made.layout.contrasts] == [COMPONENTS, COMPONENTS]
    assert made.ends == ("base", "ls,null")


def test_both_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--null adds the dummy by itself: leave null out"):
        plan("tiny", "ls,null", null=True, home=tmp_path)


def test_dummies_do_not_make_up_for_components_that_change_nothing(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="changes anything here"):
        plan("tiny", "ls", settings=["loss.label_smoothing=0.1"], null=True, home=tmp_path)
