"""The certificates of a plan: what has been observed before is remembered, the rest is looked at.

Observations are remembered in the home by recipe, data, code and versions, so that planning again
or extending a study looks only at new arms, and a changed interpreter is always looked at anew.
"""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ablations.certificate import Certificate, certify, check
from ablations.errors import RequestError
from ablations.launch.job import Observe
from ablations.launch.local import LocalPool
from ablations.ledger import Ledger, recall
from ablations.plans import Plan
from lightning_modules.execution import Execution
from lightning_modules.files import write_json
from recipes.identity import digest, fingerprint

_PACKAGES = ("pytorch-lightning", "timm", "torch")


def prove(
    pool: LocalPool, plan: Plan, executions: Mapping[str, Execution], ledger: Ledger, threads: int
) -> list[Certificate]:
    """Return the certificates of every arm, after looking at the arms that are not known.

    Args:
        pool: of free workers.
        plan: its layout is proven, whatever of it has been trained already.
        executions: of each arm, by name: where its data are.
        ledger: whose cache remembers.
        threads: of a worker, which may change the last bits of a sum.

    Raises:
        RequestError: an arm did not get its treatment, or its first steps fail.
    """
    keys = {
        arm.name: digest(
            [fingerprint(arm.recipe), plan.data_fingerprint, _code(), _versions(), threads]
        )
        for arm in plan.layout.arms
    }
    folder = ledger.cache / "observations"
    seen = {name: recall(folder / f"{key}.json") for name, key in keys.items()}
    wanted = [
        Observe(key=keys[arm.name], arm=arm.name, recipe=arm.recipe, execution=executions[arm.name])
        for arm in plan.layout.arms
        if not seen[arm.name]
    ]
    faults: dict[str, str] = {}
    for event in pool.run(wanted):
        if event.what == "observed":
            assert isinstance(event.job, Observe)
            if event.value is None:
                faults[event.job.arm] = event.message
                continue
            seen[event.job.arm] = event.value
            write_json(folder / f"{event.job.key}.json", event.value)
    for name in keys:
        if name in faults:
            raise RequestError(
                f"the first steps of the arm {name!r} failed, and nothing was trained:"
                f" {faults[name]}"
            )
    certificates = certify(plan.layout, seen)
    check(certificates)
    return certificates


def keep(certificates: list[Certificate], plan: Plan, ledger: Ledger) -> None:
    """Write the certificates beside the plan of a study; those of a later revision stay."""
    path = ledger.study_folder(plan.study) / "certificates.json"
    found = {(one["arm"], one["parent"]): one for one in ledger.certificates(path)}
    found |= {(one.arm, one.parent): one.plain() for one in certificates}
    write_json(path, {"schema_version": 1, "certificates": list(found.values())})


def _versions() -> list[Any]:
    return [platform.machine(), platform.processor(), *(version(name) for name in _PACKAGES)]


@functools.cache
def _code() -> str:
    """Return a digest of the interpreter's source: another one is another thing to look at."""
    import lightning_modules
    import recipes

    found = hashlib.sha256()
    for package in (recipes, lightning_modules):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            found.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return found.hexdigest()
