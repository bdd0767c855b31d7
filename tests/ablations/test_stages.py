"""Decisions of a study, in a real ledger, about runs that are made up."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablations import RequestError, open_study
from ablations.answers import document_of
from ablations.frozen import thaw
from ablations.plans import values_by_arm
from ablations.randomised_block import fit_blocks
from ablations.revisions import check_same, extend
from ablations.stages import (
    beyond_images,
    decide,
    label,
    runs_ahead,
    runs_so_far,
    stages_of,
    with_stages,
)
from ablations.study import plan_study
from tests.ablations.conftest import Said
from tests.ablations.made_up import CLEAR, carry_out, finish, frozen, prepared

Call = Callable[..., Said]


def stages_file(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "studies/mine/stages.json").read_text())
    return found


def test_a_decision_is_written_before_its_runs_start(tmp_path: Path) -> None:
    made, ledger = frozen(tmp_path)
    assert decide(made, ledger) is False  # the first stage has not ended
    finish(ledger, made, made.runs, CLEAR)
    assert decide(made, ledger) is True
    (row,) = stages_file(tmp_path)["looks"]
    assert (row["stage"], row["share"]) == (1, pytest.approx(1 / 6))
    assert row["closed"] == {"0 +ls": "helps", "2 +do": "hurts"}
    assert [(run["arm"], run["seed"]) for run in row["runs"]] == [("base", 3), ("se", 3)]
    assert {ledger.status(run["id"]) for run in row["runs"]} == {"missing"}
    before = (tmp_path / "studies/mine/stages.json").read_bytes()
    assert decide(made, ledger) is False  # its runs are to be made first
    assert (tmp_path / "studies/mine/stages.json").read_bytes() == before


def test_the_frozen_plan_stays_and_readers_see_the_runs_that_were_added(tmp_path: Path) -> None:
    made, ledger = frozen(tmp_path)
    text = (tmp_path / "studies/mine/plan.yaml").read_text()
    carry_out(ledger, made, CLEAR)
    assert (tmp_path / "studies/mine/plan.yaml").read_text() == text
    again, _, _ = thaw(ledger.study_folder("mine"))
    assert again.stopping == made.stopping
    assert {run.id for run in again.runs} == {run.id for run in made.runs}
    whole = with_stages(again, ledger)
    assert len(whole.runs) > len(made.runs)
    assert len({run.id for run in whole.runs}) == len(whole.runs)
    assert {run.seed for run in whole.runs} == set(whole.seeds)
    study = open_study("mine", tmp_path)
    assert len(study.runs) == len(whole.runs) == len(study.document["runs"])
    assert study.document["seeds"] == list(whole.seeds)
    assert check_same(prepared(tmp_path), ledger).plan.stopping == made.stopping


def test_the_same_runs_lead_to_the_same_decisions(tmp_path: Path) -> None:
    """A kill loses at most a decision that was not written; it is made again as it was."""
    made, ledger = frozen(tmp_path)
    carry_out(ledger, made, CLEAR)
    path = tmp_path / "studies/mine/stages.json"
    whole = path.read_bytes()
    looks = json.loads(whole)["looks"]
    assert len(looks) > 2
    for kept in (2, 1, 0):  # decisions; the runs of the last one are there, or are not
        for look in looks[kept:]:
            for run in look["runs"]:
                (ledger.run_folder(run["id"]) / "status.json").unlink(missing_ok=True)
        path.write_text(json.dumps({**json.loads(whole), "looks": looks[:kept]}))
        carry_out(ledger, made, CLEAR)
        assert path.read_bytes() == whole


def test_a_retried_run_changes_no_decision(tmp_path: Path) -> None:
    made, ledger = frozen(tmp_path, seeds=4)
    bad = next(run for run in made.runs if run.arm == "se")
    finish(ledger, made, [run for run in made.runs if run != bad], CLEAR)
    ledger.finish(bad.id, "diverged", None, "NaN")
    assert decide(made, ledger)
    looks = stages_file(tmp_path)["looks"]
    assert looks[0]["failed"] == ["se"]
    assert looks[0]["runs"] == []
    told = " ".join(document_of(made, ledger)["notes"])
    assert "stopped at stage 1 of 6: +se without a decision, since runs failed" in told
    ledger.forget(bad.id)
    finish(ledger, made, [bad], CLEAR)
    assert decide(made, ledger) is False
    assert stages_file(tmp_path)["looks"] == looks


def test_with_retry_a_study_goes_on_that_ended_as_its_base_had_failed(tmp_path: Path) -> None:
    made, ledger = frozen(tmp_path, confirm=2)
    bad = next(run for run in made.runs if run.arm == "base")
    finish(ledger, made, [run for run in made.runs if run != bad], CLEAR)
    ledger.finish(bad.id, "failed", None, "out of paper")
    while decide(made, ledger, retry=True):  # failed still: as without --retry
        pass
    before = stages_file(tmp_path)
    assert [look["runs"] for look in before["looks"]] == [[]]
    assert before["choice"]["runs"] == []
    ledger.forget(bad.id)
    assert decide(made, ledger, retry=True) is False  # not whole yet
    finish(ledger, made, [bad], CLEAR)
    assert decide(made, ledger) is False
    assert stages_file(tmp_path) == before  # without --retry what was decided stays
    assert decide(made, ledger, retry=True)
    after = stages_file(tmp_path)
    assert after["choice"] is None
    (look,) = after["looks"]
    assert look["failed"] == []
    assert look["closed"] == {"0 +ls": "helps", "2 +do": "hurts"}
    assert [(run["arm"], run["seed"]) for run in look["runs"]] == [("base", 3), ("se", 3)]
    carry_out(ledger, made, CLEAR)
    whole = stages_of(made, ledger)
    assert whole.choice is not None
    assert whole.choice.arm == "ls"
    assert min(whole.choice.seeds) > max(run.seed for run in with_stages(made, ledger).runs)
    assert decide(made, ledger, retry=True) is False


def test_what_a_dropped_look_had_closed_stays_closed(tmp_path: Path) -> None:
    made, ledger = frozen(tmp_path, seeds=4)
    bad = next(run for run in made.runs if run.arm == "se")
    finish(ledger, made, [run for run in made.runs if run != bad], CLEAR)
    ledger.finish(bad.id, "diverged", None, "NaN")
    assert decide(made, ledger)
    closed = stages_file(tmp_path)["looks"][0]["closed"]
    assert closed == {"0 +ls": "helps", "2 +do": "hurts"}
    ledger.forget(bad.id)
    finish(ledger, made, [bad], CLEAR | {"se": 70.5})
    assert decide(made, ledger, retry=True)
    (look,) = stages_file(tmp_path)["looks"]
    assert closed.items() <= look["closed"].items()
    assert {run["arm"] for run in look["runs"]} <= {"base", "se"}


def test_a_choice_without_an_arm_that_failed_is_made_again_with_retry(tmp_path: Path) -> None:
    made, ledger = frozen(tmp_path, until=None, confirm=1)
    bad = next(run for run in made.runs if run.arm == "ls")
    finish(ledger, made, [run for run in made.runs if run != bad], CLEAR)
    ledger.finish(bad.id, "failed", None, "out of paper")
    assert decide(made, ledger)
    assert stages_file(tmp_path)["choice"]["arm"] == "se"
    ledger.forget(bad.id)
    finish(ledger, made, [bad], CLEAR)
    assert decide(made, ledger) is False
    assert decide(made, ledger, retry=True)
    assert stages_file(tmp_path)["choice"]["arm"] == "ls"
    assert decide(made, ledger, retry=True) is False


def test_a_finished_study_tells_how_it_ended_and_what_it_spent(tmp_path: Path) -> None:
    made, ledger = frozen(tmp_path, max_runs=20)
    carry_out(ledger, made, CLEAR)
    notes = document_of(made, ledger)["notes"]
    (ended,) = (note for note in notes if note.startswith("stopped at stage"))
    assert "tests have 1/" in ended
    assert "runs were added: base +" in ended
    assert "validation was tested once, at the end" in ended
    assert "resolved on minival as helps: +ls; hurts: +do" in notes
    assert runs_ahead(made, ledger) == 0


def test_a_study_in_between_says_so_and_gives_no_verdict(tmp_path: Path) -> None:
    made, ledger = frozen(tmp_path)
    finish(ledger, made, made.runs, CLEAR)
    decide(made, ledger)
    found = document_of(made, ledger)
    told = " ".join(found["notes"])
    assert "stage 2 of 6 is not finished and more seeds may follow" in told
    assert "verdicts are withheld until the study has ended" in told
    assert "tested once" not in told
    assert "may use" not in told
    sides = [side for way in found["split"].values() if way for side in way.values() if side]
    for answer in (*found["contrasts"], *(side for side in sides if isinstance(side, dict))):
        assert answer["verdict"] is None
        assert answer.get("p_holm") is None
    assert not any(open_study("mine", tmp_path).effects["verdict"].notna())
    carry_out(ledger, made, CLEAR)
    ended = document_of(made, ledger)
    assert [one["verdict"] for one in ended["contrasts"]][::2] == ["helps", "hurts"]
    assert None not in {one["verdict"] for one in ended["contrasts"]}
    assert "0.167 of alpha" in " ".join(ended["notes"])
    assert "2 of 14 runs have not finished" in told


def test_status_shows_the_stage(tmp_path: Path, call: Call) -> None:
    made, ledger = frozen(tmp_path)
    assert "\n  stage 1 of 6\n" in call("status", "mine", "--home", tmp_path).out
    finish(ledger, made, made.runs, CLEAR)
    decide(made, ledger)
    out = call("status", "mine", "--home", tmp_path).out
    assert "stage 1 of 6: 2 more runs, for +se" in out
    assert "14 runs: 12 finished, 2 missing" in out


def test_another_study_on_the_same_images_is_counted(tmp_path: Path, call: Call) -> None:
    made, ledger = frozen(tmp_path, until=None)
    finish(ledger, made, made.runs, CLEAR)
    assert "studies of this home" not in " ".join(document_of(made, ledger)["notes"])
    other, _ = frozen(tmp_path, "other", until=None)
    text = json.dumps(document_of(other, ledger))
    (ledger.study_folder("other") / "report.json").write_text(text)
    (told,) = (note for note in document_of(made, ledger)["notes"] if "of this home" in note)
    assert told.startswith("2 studies of this home have read the validation images of these data")
    assert "of this home" not in " ".join(document_of(other, ledger)["notes"])


# Widths -----------------------------------------------------------------------------------------


def test_a_width_that_the_images_forbid_ends_the_study_with_the_reason(tmp_path: Path) -> None:
    made, ledger = frozen(tmp_path, until="0.2")
    finish(ledger, made, made.runs, CLEAR)
    assert decide(made, ledger)
    (row,) = stages_file(tmp_path)["looks"]
    assert row["runs"] == []
    assert row["reason"].startswith("the 800 evaluated images alone leave +-")
    told = " ".join(document_of(made, ledger)["notes"])
    assert f"stopped at stage 1 of 5: {row['reason']}" in told
    assert "tests have all of alpha" in told
    # The same request under the same name goes on: it has ended. Under another it is refused.
    assert decide(made, ledger) is False
    prepared(tmp_path, until="0.2")
    with pytest.raises(RequestError, match=r"--until 0.2: the 800 evaluated images .* a width abo"):
        prepared(tmp_path, "other", until="0.2")


def test_the_images_that_a_width_takes_are_as_the_square_says(tmp_path: Path) -> None:
    made, ledger = frozen(tmp_path, until="0.2")
    finish(ledger, made, made.runs, CLEAR)
    outcomes = [ledger.outcome(run) for run in made.runs]
    words, names = beyond_images(made, made, outcomes, ledger)
    assert names
    floor = float(words.split("+-")[1].split()[0])
    needed = float(words.split("about ")[1].split()[0].replace(",", ""))
    assert needed == pytest.approx(800 * (floor / 0.2) ** 2, rel=0.01)
    wider = dataclasses.replace(made.stopping, until=f"{floor + 0.1}")
    assert beyond_images(
        again := dataclasses.replace(made, stopping=wider), again, outcomes, ledger
    ) == ("", [])


def test_a_width_in_reach_is_reached(tmp_path: Path) -> None:
    truth = dict.fromkeys(CLEAR, 70.0)
    made, ledger = frozen(tmp_path, until="0.8", max_runs=300)
    carry_out(ledger, made, truth)
    looks = stages_of(made, ledger).looks
    assert set(looks[-1].closed.values()) == {"reached"}
    told = " ".join(document_of(made, ledger)["notes"])
    assert "intervals within +-0.8" in told


def test_a_width_that_the_images_forbid_one_contrast_goes_on_for_the_others(
    tmp_path: Path,
) -> None:
    # `do` is right on other images than the rest, whatever the seed.
    truth = {"base": 70.0, "ls": 70.0, "se": 70.0, "do": 55.0}
    made, ledger = frozen(tmp_path, until="0.9", max_runs=300)
    carry_out(ledger, made, truth)
    looks = stages_of(made, ledger).looks
    assert looks[0].closed["2 +do"] == "refused"
    assert {run.arm for run in looks[0].runs} == {"base", "ls", "se"}
    assert looks[-1].closed == {"0 +ls": "reached", "1 +se": "reached", "2 +do": "refused"}
    (told,) = (one for one in document_of(made, ledger)["notes"] if one.startswith("stopped"))
    assert "points of +do, which no seeds lower" in told
    assert "intervals of the others within +-0.9" in told
    prepared(tmp_path, "other", until="0.9", max_runs=300)  # worth its runs for the others


def test_a_width_is_reported_with_the_first_stages_error(tmp_path: Path) -> None:
    truth = dict.fromkeys(CLEAR, 70.0)
    made, ledger = frozen(tmp_path, until="0.8", max_runs=300)
    carry_out(ledger, made, truth)
    whole = with_stages(made, ledger)
    assert len(whole.runs) > len(made.runs)
    outcomes = [ledger.outcome(run) for run in made.runs]
    first = fit_blocks(values_by_arm(outcomes), {}).spread
    study = open_study("mine", tmp_path)
    assert {one["error_df"] for one in study.document["contrasts"]} == {first.error_df}
    seeds = [len([run for run in whole.runs if run.arm == arm]) for arm in ("base", "ls")]
    wanted = math.sqrt((first.error_variance or 0) * sum(1 / n for n in seeds))
    found = study.effects.set_index("name").loc["+ls", "seed_error"]
    assert found == pytest.approx(wanted)
    assert "that of the first stage's runs" in " ".join(study.document["notes"])


def test_a_width_without_a_finished_run_has_a_report(tmp_path: Path) -> None:
    made, ledger = frozen(tmp_path, until="0.8", confirm=1)
    assert {one["delta"] for one in document_of(made, ledger)["contrasts"]} == {None}
    for run in made.runs:
        ledger.finish(run.id, "failed", None, "out of paper")
    while decide(made, ledger):
        pass
    notes = document_of(made, ledger)["notes"]
    assert any("without a decision, since runs failed" in note for note in notes)
    assert "nothing is confirmed: runs of base failed" in notes


# Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"until": "verdicts"}, "--until verdicts: what is chosen is chosen by minival"),
        ({"until": "0.2", "seeds": 4}, "--until 0.2: what is chosen"),
        ({"until": None, "confirm": 2}, "--confirm 2: what is chosen"),
    ],
)
def test_choices_need_held_out_images(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        prepared(tmp_path, settings=("data.minival_fraction=0",), **more)
    assert "--set data.minival_fraction=0.02" in str(caught.value)


def test_runs_of_before_minival_was_kept_are_told_with_their_folders(
    tmp_path: Path, call: Call
) -> None:
    made, ledger = frozen(tmp_path)
    finish(ledger, made, made.runs, CLEAR)
    path = ledger.run_folder(made.runs[0].id) / "result.json"
    old = {key: v for key, v in json.loads(path.read_text()).items() if key != "minival_top1"}
    path.write_text(json.dumps(old))
    words = ("--base", "tiny", "--add", "ls,se,do", "--design", "one-at-a-time", "--study", "mine")
    said = call(*words, "--until", "verdicts", "--track", "none", "--home", tmp_path)
    assert (said.code, said.out) == (2, "")
    assert "is not known of 1 finished runs" in said.err
    assert made.runs[0].id in said.err
    assert not (tmp_path / "studies/mine/stages.json").exists()


@pytest.mark.parametrize(("more", "rule"), [({}, "--until verdicts"), ({"confirm": 2}, "verdicts")])
def test_a_study_with_a_rule_is_not_extended(
    tmp_path: Path, more: dict[str, Any], rule: str
) -> None:
    _, ledger = frozen(tmp_path, **more)
    with pytest.raises(RequestError, match=f"'mine' is not extended: .*{rule}"):
        extend(lambda request: plan_study(request, tmp_path, "mine"), ledger, "mine", None, 5)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"schema_version": 9}', '{"schema_version": 1, "looks": 3, "choice": null}'],
)
def test_a_damaged_file_of_stages_is_told(tmp_path: Path, text: str) -> None:
    made, ledger = frozen(tmp_path)
    (tmp_path / "studies/mine/stages.json").write_text(text)
    with pytest.raises(RequestError, match=r"stages.json is damaged: .* decides again"):
        stages_of(made, ledger)


def test_stages_of_another_plan_are_not_taken_for_this_ones(tmp_path: Path) -> None:
    made, ledger = frozen(tmp_path)
    run = {"id": "x", "arm": "sd", "seed": 3}
    look = {"share": 0.1, "closed": {}, "runs": [run], "failed": [], "reason": ""}
    path = tmp_path / "studies/mine/stages.json"
    path.write_text(json.dumps({"schema_version": 1, "looks": [look], "choice": None}))
    with pytest.raises(RequestError, match="the plan has no arm sd"):
        stages_of(made, ledger)


def test_a_plan_without_a_rule_decides_nothing(tmp_path: Path) -> None:
    made, ledger = frozen(tmp_path, until=None)
    finish(ledger, made, made.runs, CLEAR)
    assert decide(made, ledger) is False
    assert runs_so_far(made, ledger) == made
    assert not (tmp_path / "studies/mine/stages.json").exists()


def test_contrasts_have_the_names_that_a_reader_knows(tmp_path: Path) -> None:
    made = prepared(tmp_path).plan
    assert label(made, "1 +se") == "+se"
    assert label(made, "by_blocks training") == "training by blocks"
    twice = dataclasses.replace(
        made.layout, contrasts=(made.layout.contrasts[0], made.layout.contrasts[0])
    )
    assert label(dataclasses.replace(made, layout=twice), "1 +ls") == "+ls (alone)"
