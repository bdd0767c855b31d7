"""The public surface: sorted, complete, and light to import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import recipes


def _run(program: str) -> str:
    root = str(Path(recipes.__file__).parents[1])
    answer = subprocess.run(
        [sys.executable, "-B", "-c", program],
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout


def test_all_is_sorted_and_complete() -> None:
    public = [
        name
        for name, value in vars(recipes).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    ]
    assert recipes.__all__ == sorted(recipes.__all__)
    assert recipes.__all__ == sorted(public)


def test_all_of_the_components_is_complete() -> None:
    from recipes import components

    classes = {owner.__name__ for owner in components.TABLE.values()}
    assert len(components.__all__) == len(classes) + 2
    assert set(components.__all__) == classes | {"BUNDLES", "TABLE"}


def test_the_contract_s_names_are_there() -> None:
    contract = {"load", "parse", "apply", "stack", "edit", "diff", "fingerprint"}
    assert contract <= set(recipes.__all__)


def test_importing_loads_nothing_heavy() -> None:
    heavy = {"torch", "omegaconf", "yaml", "numpy", "scipy", "timm", "lightning", "wandb"}
    loaded = _run("import sys, recipes; print(*{name.partition('.')[0] for name in sys.modules})")
    assert not heavy & set(loaded.split())


def test_components_and_designs_need_no_yaml() -> None:
    program = (
        "import sys, recipes; recipes.parse('paper');"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    assert not {"omegaconf", "yaml"} & set(_run(program).split())


def test_importing_is_quick() -> None:
    # design.md section 3: under 0.3 s. Processor time, so that a busy machine does not count.
    program = "import time; t = time.process_time(); import recipes; print(time.process_time() - t)"
    assert min(float(_run(program)) for _ in range(3)) < 0.3
