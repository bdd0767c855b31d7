"""At least 100 kills over studies of 20 runs: `pytest -m slow tests/faults` (docs/faults.md)."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faults.campaign import Campaign, written

pytestmark = pytest.mark.slow
SEED = int(os.environ.get("FAULTS_SEED", "20261128"))
WORKERS = ("worker",)
ALL = ("worker", "worker", "server", "driver", "group", "term", "int")


@pytest.mark.parametrize(
    ("workers", "drivers", "kinds", "kills", "pause"),
    [
        (1, 1, WORKERS, 25, 2.0),
        (2, 1, WORKERS, 35, 1.5),
        (4, 1, WORKERS, 30, 1.5),
        (2, 1, ALL, 12, 5.0),
        (1, 2, ALL, 16, 4.0),
    ],
    ids=["1-worker", "2-workers", "4-workers", "drivers-too", "2-competing"],
)
def test_nothing_is_lost_doubled_or_changed_by_kills(
    workers: int,
    drivers: int,
    kinds: tuple[str, ...],
    kills: int,
    pause: float,
    undisturbed: dict[str, Any],
    tmp_path: Path,
    record_testsuite_property: Any,
) -> None:
    chance = random.Random(f"{SEED} {workers} {drivers} {kinds}")
    killed: Counter[str] = Counter()
    while killed.total() < kills:  # a study that was done too soon is followed by another
        campaign = Campaign(
            home=tmp_path / f"home after {killed.total()}",
            workers=workers,
            drivers=drivers,
            kinds=kinds,
            enough=kills - killed.total(),
            chance=chance,
            pause=pause,
        )
        watch = campaign.carry_out()
        assert campaign.kills, "the study was done before anything was killed"
        killed += campaign.kills
        assert watch.doubled == []
        found = written(campaign.home)
        assert found.keys() == undisturbed.keys()
        for run, expected in undisturbed.items():
            assert found[run] == expected, run
        traces = [line for line in campaign.said if "Traceback" in line]
        assert not traces, "".join(campaign.said[-60:])
    print(f"{workers} workers, {drivers} drivers: kills {dict(killed)}")
    record_testsuite_property(f"kills {workers} {drivers} {len(kinds)}", dict(killed))
