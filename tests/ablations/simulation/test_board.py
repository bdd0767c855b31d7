from __future__ import annotations

import numpy as np
import pytest

from ablations.designs import DESIGNS
from ablations.simulation.board import lay
from ablations.simulation.games import Law, draw

LAW = Law(main=(0.3, -0.5, 1.5), pair_sd=0.3)


@pytest.mark.parametrize(
    "design",
    [
        "ladder",
        "one-at-a-time",
        "leave-one-out",
        "factorial",
        "bracket",
        "shapley",
        "screen",
        "blocks",
    ],
)
def test_what_a_design_estimates_is_what_it_says_it_asks(design: str) -> None:
    on = lay(design, training=2, architecture=2, seeds=2)
    games = draw(LAW, 4, 3, np.random.default_rng(0))
    truths, values = on.truths(games), games.values(on.members)
    for game in range(3):
        # Two seeds with one constant between them: no error, and estimates are exact.
        found = on.analysed(values[game][:, None] + np.array([[-0.5, 0.5]]), None)
        for name, truth in truths.items():
            assert found.estimates[name].delta == pytest.approx(truth[game]), name


def test_arms_hold_the_components_that_their_names_say() -> None:
    on = lay("factorial", training=2, architecture=1, seeds=1)
    names = [
        ",".join(f"c{place:02d}" for place in np.flatnonzero(row) + 1) or "base"
        for row in on.members
    ]
    assert names == [arm.name for arm in on.layout.arms]


def test_an_arm_has_the_runs_that_its_layout_says() -> None:
    assert lay("one-at-a-time", training=2, seeds=3).runs.tolist() == [3, 3, 3]
    on = lay("screen", training=3, seeds=1)
    assert on.runs.tolist() == [*on.layout.seeds_by_arm(1).values()]
    assert len(on.plan.runs) == on.runs.sum() > len(on.arms)


def test_no_design_needs_torch_for_made_up_components() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from ablations.simulation.board import lay;"
        f" [lay(design, training=2, architecture=1, seeds=1) for design in {sorted(DESIGNS)}];"
        " print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
