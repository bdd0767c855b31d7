"""The study that nobody disturbs, which every campaign is held against."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.campaign import RUNS, start, written


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("undisturbed")
    driver = start(home, 2)
    _, said = driver.communicate()
    assert driver.returncode == 0, said
    found = written(home)
    assert len(found) == RUNS
    assert {one["status"] for one in found.values()} == {"finished"}
    return found
