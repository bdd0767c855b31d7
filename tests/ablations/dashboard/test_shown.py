from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from ablations.answers import Study, document_of
from ablations.dashboard.shown import EFFECTS, Shown, effects_markdown, safe, shown_of
from ablations.ledger import Ledger
from ablations.plans import Plan
from ablations.report import words
from ablations.report.story import Story
from recipes.tree import leaves
from tests.ablations.dashboard.told import TRUTH, made_up, planned, story_and_shown


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Ledger]:
    return made_up(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def told(study: tuple[Plan, Ledger]) -> tuple[Story, Shown]:
    return story_and_shown(*study)


def test_the_effects_are_those_of_the_study_column_by_column(study, told):
    frame = Study(*study).effects
    _, shown = told
    assert shown.effects.columns == EFFECTS
    assert len(shown.effects.rows) == len(frame) > 0
    for row, known in zip(shown.effects.rows, frame.to_dict("records"), strict=True):
        for name, value in zip(EFFECTS, row, strict=True):
            missing = known[name] is None or known[name] != known[name]
            assert value == (None if missing else known[name])


def test_an_arm_has_the_mean_of_its_runs_and_all_that_it_changes(study, told):
    plan, ledger = study
    _, shown = told
    values = {run.arm: [] for run in plan.runs}
    for run in plan.runs:
        values[run.arm].append(ledger.outcome(run).value)
    arms = {row[0]: dict(zip(shown.arms.columns, row, strict=True)) for row in shown.arms.rows}
    assert arms.keys() == TRUTH.keys()
    for arm, mine in values.items():
        assert arms[arm]["value"] == pytest.approx(sum(mine) / len(mine))
        assert arms[arm]["n"] == len(mine) == 3
    changed = {row[0]: dict(zip(shown.recipes.columns[1:], row[1:], strict=True))
               for row in shown.recipes.rows}  # fmt: skip
    assert set(shown.recipes.columns[1:]) == {"loss.label_smoothing", "model.se_ratio"}
    for arm in plan.layout.arms:
        own = leaves(arm.recipe)
        assert {path: float(text) for path, text in changed[arm.name].items()} == {
            path: float(own[path]) for path in changed[arm.name]
        }


def test_the_summary_holds_the_split_of_the_document(study, told):
    document = document_of(*study)
    numbers = told[1].numbers
    for way, sides in document["split"].items():
        for side, known in sides.items():
            assert numbers[f"split/{way}/{side}"] == known["delta"]
            assert [numbers[f"split/{way}/{side}/{end}"] for end in ("low", "high")] == (
                known["interval"]
            )
            assert numbers[f"split/{way}/{side}/verdict"] == known["verdict"]
    assert numbers["runs/finished"] == 12
    json.dumps(dict(numbers), allow_nan=False)


def test_the_markdown_has_every_delta_interval_and_verdict(study, told):
    document, text = document_of(*study), told[1].markdown
    for one in document["contrasts"]:
        [line] = [line for line in text.splitlines() if line.startswith(f"| {safe(one['label'])} ")]
        cells = [safe(words.signed(one["delta"])), safe(words.interval(one["interval"]))]
        assert all(f" {cell} |" in line for cell in [*cells, one["verdict"]])
    assert text.count("| by blocks ") == 3
    assert text.count("| by ladder ") == 2


def test_no_text_of_a_study_is_markup(told):
    story, _ = told
    bad = "</td><img src=x onerror=alert(1)> | [a](http://b) `c` *d* $e$\n# f"
    contrasts = [dict(one, label=bad, kind=bad) for one in story.document["contrasts"]]
    text = effects_markdown(dict(story.document, contrasts=contrasts), story.effects)
    lines = text.splitlines()
    rows = [line for line in lines if line.startswith("| ") and "img" in line]
    assert len(rows) == len(contrasts)
    assert all(line.count("|") - line.count(r"\|") == 9 for line in rows)  # eight cells
    for sign in "<>[]`*$":
        plain = text.replace(f"\\{sign}", "").replace("**", "")
        assert sign not in plain, sign


def test_a_study_without_results_is_shown_too(tmp_path: Path):
    plan, ledger = planned(tmp_path)
    story, shown = story_and_shown(plan, ledger)
    assert all(row[shown.effects.columns.index("delta")] is None for row in shown.effects.rows)
    assert shown.numbers["runs/missing"] == len(plan.runs)
    assert shown_of(dataclasses.replace(story, curves={}), shown.components) == shown
