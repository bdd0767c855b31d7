"""A study of a ladder whose runs nobody trained, and what its dashboard says."""

from __future__ import annotations

from pathlib import Path

from ablations import plan as plan_of
from ablations.answers import look, story_from
from ablations.dashboard.shown import Shown, shown_of
from ablations.ledger import Ledger
from ablations.plans import Plan
from ablations.publishing.shown import keys_of
from ablations.report.story import Story
from ablations.revisions import open_or_freeze
from tests.ablations.made_up import finish

ADDED = "ls(epsilon=0.2),se"  # an arm's name with what a filter must not read
TRUTH = {"base": 70.0, "ls(epsilon=0.2)": 78.0, "ls(epsilon=0.2),se": 79.0, "se": 71.0}


def planned(home: Path, study: str = "new") -> tuple[Plan, Ledger]:
    """A study of which nothing was trained yet."""
    ledger = Ledger(home)
    prepared = plan_of("tiny", ADDED, home=home, study=study)
    open_or_freeze(prepared, ledger)
    return prepared.plan, ledger


def made_up(home: Path, study: str = "mine") -> tuple[Plan, Ledger]:
    """A finished study, with curves."""
    plan, ledger = planned(home, study)
    finish(ledger, plan, plan.runs, TRUTH)
    for run in plan.runs:
        rows = [f'{{"epoch": {n}, "step": {9 * n}, "val/top1": {60 + 3 * n}.5}}\n' for n in (1, 2)]
        (ledger.run_folder(run.id) / "metrics.jsonl").write_text("".join(rows))
    return plan, ledger


def story_and_shown(plan: Plan, ledger: Ledger) -> tuple[Story, Shown]:
    looked = look(plan, ledger)
    story = story_from(looked, ledger)
    return story, shown_of(story, keys_of(looked.plan))
