"""A plan as text and as plain values."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablations import plan
from ablations.detectable import prospect
from ablations.disk import disk_of
from ablations.foresight import Foresight, evaluated_images
from ablations.noise import Noise
from ablations.plans import DESCRIBED, Plan, Stopping
from ablations.report.planned import planned_document, planned_table
from tests.ablations.conftest import QUICK, Finished, Said, snapshot

NOISE = Noise(
    seed_variance=0.04, seed_df=None, image_variance=50, images=50_000, source="0.2 points (said)"
)


def document(study: Plan, noise: Noise = NOISE, seconds: float = 60.0) -> dict[str, Any]:
    ahead = Foresight(
        noise=noise,
        prospect=prospect(study, noise),
        disk=disk_of(
            study,
            study.runs,
            weights={"base": 4_000_000},
            keeping=study.ends,
            images=noise.images,
            decoded=0,
            slots=2,
            tracked=True,
        ),
    )
    expected = {arm.name: seconds for arm in study.layout.arms}
    found = planned_document(study, study.runs, expected, 2, ahead)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def test_eleven_components_are_a_row_each_within_the_width(tmp_path: Path) -> None:
    study = plan("tiny", "paper,null", home=tmp_path).plan
    text = planned_table(document(study))
    rows = [line for line in text.splitlines() if line.startswith("  +")]
    assert [line.split()[0] for line in rows] == [one.label for one in study.layout.contrasts]
    assert len(rows) == 11
    assert all(len(line) <= 100 for line in text.splitlines())
    for line in rows:  # kind, interval, verdict, floor, leaves
        pointwise, verdict, floor = map(float, line.split()[2:5])
        assert floor < pointwise < verdict
    assert "0.2 points (said)" in text
    assert "smallest effects found with 80 % power, in points, from 3 seeds by arm" in text


def test_hours_are_of_computing_and_of_the_clock(tmp_path: Path) -> None:
    study = plan("tiny", "ls,se", home=tmp_path, null=True).plan
    found = document(study, seconds=600.0)
    assert found["hours"] == {"computing": pytest.approx(3.5), "wall": pytest.approx(1.75)}
    assert found["seconds"] == pytest.approx(1.75 * 3600)
    assert found["null"]["missing"] == 9
    assert found["null"]["computing_hours"] == pytest.approx(1.5)
    text = planned_table(found)
    assert "3 null arms take 9 of the runs to train, 1.5 h of computing" in text
    assert "21 of 21 runs to train, about 3.5 h of computing, 1.8 h with 2 at once" in text
    assert "\ndisk: about " in text
    assert "of checkpoints while runs are made" in " ".join(text.split())
    unknown = planned_document(study, study.runs, {}, 2, foresight_of(study))
    assert unknown["hours"] == {"computing": None, "wall": None} and unknown["seconds"] is None
    assert "21 of 21 runs to train; nothing was trained" in planned_table(unknown)


def foresight_of(study: Plan) -> Foresight:
    disk = disk_of(study, (), weights={}, keeping=(), images=1, decoded=0, slots=1, tracked=False)
    return Foresight(noise=NOISE, prospect=prospect(study, NOISE), disk=disk)


def test_too_few_seeds_are_told_with_those_that_would_do(tmp_path: Path) -> None:
    found = document(plan("tiny", "ls", seeds=3, home=tmp_path).plan)
    assert (found["error_df"], found["enough_seeds"]) == (2, 7)
    text = planned_table(found)
    assert (
        "no verdict can come of these runs: 2 error degrees of freedom, 6 are needed: 7 seeds would"
        " do" in text
    )
    (row,) = (line for line in text.splitlines() if line.startswith("  +ls"))
    assert row.split()[3] == "-"
    assert "no verdict can come" not in planned_table(
        document(plan("tiny", "ls", seeds=7, home=tmp_path).plan)
    )


def test_the_rules_of_the_study_are_shown(tmp_path: Path) -> None:
    study = plan("tiny", "ls,se", home=tmp_path, rope=0.2, confirm=5).plan
    layout = dataclasses.replace(
        study.layout, aliases=("ls + sd x se", "sd + ls x se"), notes=("chosen because it is",)
    )
    stopping = Stopping(until="verdicts", stages=(3, 6), shares=(0.25, 0.75), max_runs=40)
    full = dataclasses.replace(study, layout=layout, stopping=stopping)
    found = document(full)
    assert found["stopping"] == {
        **{"until": "verdicts", "stages": [3, 6], "shares": [0.25, 0.75], "max_runs": 40}
    }
    assert (found["rope"], found["confirm"], found["metric"]) == (0.2, 5, "top1")
    assert found["protocol"]["checkpoint"] == "last"
    text = planned_table(found)
    for line in (
        "top-1 on validation at 16 pixels, after the last step",
        "seeds are added until verdicts, with looks at 3 seeds (25 % of alpha), 6 seeds (75 % of",
        "effects within +-0.2 points are called equal",
        "5 fresh seeds for the base and the arm that is chosen on minival, at the end",
        "chosen because it is",
        "aliases: what the arms cannot tell apart\n  ls + sd x se\n  sd + ls x se",
        "from 6 seeds by arm",
    ):
        assert line in text
    width = dataclasses.replace(stopping, until="0.3", max_runs=None)
    assert "until half-widths of 0.3 points, as the first" in planned_table(
        document(dataclasses.replace(full, stopping=width))
    )


def test_what_is_only_described_or_not_trained_has_no_number_of_it(tmp_path: Path) -> None:
    study = plan("tiny", "ls,wd(1e-4),se", home=tmp_path).plan
    described = dataclasses.replace(study.layout.contrasts[0], family=DESCRIBED, kind=None)
    contrasts = (described, *study.layout.contrasts[1:])
    layout = dataclasses.replace(study.layout, contrasts=contrasts)
    found = document(dataclasses.replace(study, layout=layout))
    assert found["contrasts"][0]["detectable"]["verdict"] is None
    assert found["contrasts"][1]["detectable"] is None
    rows = [line for line in planned_table(found).splitlines() if line.startswith("  +")]
    assert rows[0].split()[1] == "-" and rows[0].split()[3] == "-"
    assert rows[1].split()[2:5] == ["-", "-", "-"]
    assert "already present: the recipe has optim.weight_decay = 0.0001" in " ".join(
        planned_table(found).split()
    )


@pytest.mark.parametrize(
    ("settings", "images"), [((), 599), (("evaluate.split=minival",), round(0.1 * 1198))]
)
def test_the_evaluated_images_are_those_of_the_split(
    tmp_path: Path, settings: tuple[str, ...], images: int
) -> None:
    made = plan("tiny", "ls", home=tmp_path, settings=settings)
    assert evaluated_images(made) == images


def test_the_command_tells_all_of_it_and_trains_nothing(
    finished: Finished, home: Path, call: Callable[..., Said]
) -> None:
    words = ("plan", "--base", "tiny", "--add", "ls,se", "--seeds", "3", "--null", *QUICK)
    before = snapshot(home)
    said = call(*words, "--format", "json", "--home", home)
    assert said.code == 0, said.err
    found = said.json
    assert (found["runs"], found["missing"]) == (21, 13)  # the finished study's eight are shared
    assert found["noise"]["images"] == 599
    assert found["disk"]["weights"] > 2.5e6  # base and full of seed 2, 1.3 MB each
    assert found["disk"]["tracking"] == 0
    assert found["hours"]["computing"] > found["hours"]["wall"] > 0
    assert {one["family"] for one in found["contrasts"]} == {"components", "null"}
    assert snapshot(home) == before
    again = call(*words, "--format", "json", "--home", home).json
    assert again == found
