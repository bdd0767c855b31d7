import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ablations import plan as plan_of
from ablations.frozen import thaw
from ablations.ledger import Ledger
from ablations.named import key_of, kind_of, side_of
from ablations.plans import Plan
from ablations.revisions import open_or_freeze

OWN = '''
from dataclasses import dataclass
from recipes import Component, Kind

@dataclass(frozen=True)
class Wider(Component):
    """Wider."""
    key, kind = "wider", Kind.ARCHITECTURE
    by: int = 2

    def edits(self, recipe):
        return {"model.se_ratio": 0.1 * self.by}
'''


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A plan with a user's own component, as a later command reads it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "own_parts.py").write_text(OWN)
    added = "ls,own_parts:Wider(by=3)"
    made = plan_of("tiny", added, design="ladder", seeds=1, home=tmp_path, study="mine")
    open_or_freeze(made, Ledger(tmp_path))
    return thaw(tmp_path / "studies/mine")[0]


def test_a_user_s_own_component_is_of_the_kind_that_its_contrasts_say(plan: Plan) -> None:
    own = plan.layout.full.components[-1]
    assert not hasattr(own, "kind") and key_of(own) == "own_parts:Wider"
    assert kind_of(plan.layout, own) == "architecture"
    sides = {arm.name: side_of(plan.layout, arm) for arm in plan.layout.arms}
    assert sides["base"] == "base" and sides["ls"] == "training"
    assert sides[plan.layout.full.name] == "both"


def test_what_nothing_is_known_of_is_on_no_side(plan: Plan) -> None:
    unknown = replace(plan.layout, contrasts=())
    own = plan.layout.full.components[-1]
    assert kind_of(unknown, own) == "" and side_of(unknown, plan.layout.full) == "training"
