"""The certificates of a plan: what has been observed before is remembered, the rest is looked at.

Observations are remembered in the home by recipe, data, code and versions, so that planning again
or extending a study looks only at new arms, and a changed interpreter is always looked at anew.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from ablations.certificate import Certificate, certify, check
from ablations.disk import state_bytes
from ablations.errors import RequestError
from ablations.launch.job import Observe
from ablations.launch.local import LocalPool
from ablations.launch.pool import Event
from ablations.ledger import Ledger, recall
from ablations.packing import at_once
from ablations.plans import Plan
from lightning_modules.execution import Execution
from lightning_modules.files import write_json
from recipes import Recipe
from recipes.identity import digest, fingerprint

_SAY_SECONDS = 10.0
_PLENTY = 8 << 30  # bytes per worker at which looks need no care: ResNet-RS-420's takes 5.6 GB
_PACKAGES = ("numpy", "pillow", "pytorch-lightning", "timm", "torch", "torchvision")


def prove(
    pool: LocalPool,
    plan: Plan,
    executions: Mapping[str, Execution],
    ledger: Ledger,
    threads: int,
    say: Callable[[str], None],
    free: int | None = None,
) -> list[Certificate]:
    """Return the certificates of every arm, after looking at the arms that are not known.

    Args:
        pool: of free workers.
        plan: its layout is proven, whatever of it has been trained already.
        executions: of each arm, by name: where its data are.
        ledger: whose cache remembers.
        threads: of a worker, which may change the last bits of a sum.
        say: is told about every ten seconds how many arms have been looked at.
        free: bytes of memory that the looks may take together; None: not known, all workers look.

    Raises:
        RequestError: an arm did not get its treatment, or its first steps fail.
    """
    folder, keys = _memory(plan, ledger, threads)
    for other in folder.parent.iterdir() if folder.parent.is_dir() else ():
        if other != folder:  # of an earlier interpreter: never asked for again
            shutil.rmtree(other, ignore_errors=True)
    seen = {name: recall(folder / f"{key}.json") for name, key in keys.items()}
    wanted = [
        Observe(key=keys[arm.name], arm=arm.name, recipe=arm.recipe, execution=executions[arm.name])
        for arm in plan.layout.arms
        if not seen[arm.name]
    ]
    faults: dict[str, str] = {}
    last, done = time.monotonic(), 0
    for event in _looks(pool, wanted, free):
        if event.what == "observed":
            done += 1
            if time.monotonic() - last > _SAY_SECONDS and done < len(wanted):
                last = time.monotonic()
                say(f"looked at {done} of {len(wanted)} arms")
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


def _looks(pool: LocalPool, wanted: Sequence[Observe], free: int | None) -> Iterator[Event]:
    """Carry out looks, as many at once as fit into memory.

    Where it is scarce, the largest network is looked at alone and tells what a look needs.
    """
    if free is None or free >= _PLENTY * min(pool.slots, len(wanted)):
        yield from pool.run(wanted)
        return
    largest = max(wanted, key=lambda one: _size(one.recipe))
    need: int | None = None
    for event in pool.run([largest]):
        if event.used is not None:
            need = event.used.host
        yield event
    count = 1 if need is None else at_once(pool.slots, need, free)
    yield from pool.run([one for one in wanted if one is not largest], count)


def _size(recipe: Recipe) -> float:
    """Return what orders the networks of one plan by their weights: blocks times width squared."""
    model = recipe.model
    layers = model.layers or (model.facts.layers if model.facts is not None else ())
    return (sum(layers) or 1) * model.width**2 * (1 + model.se_ratio)


def weights_of(plan: Plan, ledger: Ledger, threads: int) -> dict[str, int]:
    """Return the bytes of each arm's weights and statistics, of those that have been looked at."""
    folder, keys = _memory(plan, ledger, threads)
    seen = {name: recall(folder / f"{key}.json") for name, key in keys.items()}
    return {name: state_bytes(found["parameters"]) for name, found in seen.items() if found}


def _memory(plan: Plan, ledger: Ledger, threads: int) -> tuple[Path, dict[str, str]]:
    """Return where observations by this code are kept, and under which name each arm's is."""
    machine = _machine()  # the packages' versions take some milliseconds
    keys = {
        arm.name: digest([fingerprint(arm.recipe), plan.data_fingerprint, machine, threads])
        for arm in plan.layout.arms
    }
    return ledger.cache / "observations" / _code(), keys


def _machine() -> list[str]:
    """Return what may change the last bits of a number: the processor and the packages."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(errors="replace").splitlines() if cpu.exists() else []
    model = next((line for line in lines if line.startswith("model name")), platform.processor())
    return [platform.machine(), model, *(version(name) for name in _PACKAGES)]


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
    return found.hexdigest()[:20]
