"""How many runs go at once, with how many threads each: memory first, then measured throughput.

A study's threads are remembered with it, since the last bits of a sum depend on them: what is gone
on with later is computed as it was begun. Longer than most, so that all that decides how many runs
go at once, and the memory that bounds them, is read in one place.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from ablations.errors import RequestError
from ablations.ledger import Ledger, recall
from lightning_modules.data import available_cores
from lightning_modules.files import write_json

if TYPE_CHECKING:
    from ablations.launch.local import LocalPool
    from ablations.study import Options
    from lightning_modules.execution import Execution
    from lightning_modules.footprint import Footprint
    from recipes import Recipe

MARGIN = 1.25  # of a run's memory over that of its first steps: averages, checkpoints, evaluation
LEAD, WINDOW = 5.0, 3.0  # seconds in which workers build, and in which their steps are counted
_PAYS = 60.0  # of the study's seconds over those of the measuring
_BETTER = 1.1  # throughput over the rule's, from which another packing is taken: noise is below
_SHARES = (1, 2, 4)  # runs per GPU, or threads per run on a CPU
_TIE = 1.1  # expected seconds within a tenth are not told apart


@dataclass(frozen=True, kw_only=True)
class Slots:
    """How many runs go at once, on which devices, with how many threads each."""

    count: int
    devices: tuple[str, ...]
    threads: int  # of a run, whatever its devices
    each: int = 1  # devices per run: GPUs from each of `devices` on, or processes on a CPU

    @property
    def places(self) -> str:
        """Return the devices as a person says it."""
        together = f" ({self.each} devices per run)" if self.each > 1 else ""
        return f"{', '.join(self.devices)}{together}"

    @property
    def words(self) -> str:
        """Return the packing as a person says it."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''} each"
        return f"{self.count} at once on {self.places}, {threads}"


class _Timed(Protocol):
    @property
    def arm(self) -> str: ...


T = TypeVar("T", bound=_Timed)


def choose_slots(runs: int, options: Options, threads: int | None = None) -> Slots:
    """Return one slot per GPU, or one per core with one thread, as far as the runs go.

    Where a run has several devices, a slot has as many GPUs, or cores.

    Two one-thread runs side by side beat one run on two threads (measured, docs/results.md).

    Args:
        runs: of the plan.
        options: whose `slots` win.
        threads: with which the study was begun; None: as the rule has them.

    Raises:
        RequestError: there are not as many GPUs as a run is to have.
    """
    cores, each = available_cores(), options.devices
    devices = _devices(options.device, each)
    if devices == ("cpu",):
        count = min(options.slots or max(cores // (threads or each), 1), max(runs, 1))
        own = threads or max(cores // count, each)
        return Slots(count=count, devices=devices, threads=own, each=each)
    count = min(options.slots or len(devices), max(runs, 1))
    own = threads or max(min(cores // count, 8 * each), 1)
    return Slots(count=count, devices=devices, threads=own, each=each)


def slots_of(study: str, runs: int, options: Options, ledger: Ledger) -> Slots:
    """Return the slots that a study was begun with, or else those of the rule."""
    known = recall(_path(ledger, study))
    devices = _devices(options.device, options.devices)
    if known.get("devices") != list(devices) or known.get("each", 1) != options.devices:
        return choose_slots(runs, options)
    slots = choose_slots(runs, options, known["threads"])
    if known["measured"] and options.slots is None:
        return dataclasses.replace(slots, count=min(known["count"], max(runs, 1)))
    return slots


def is_begun(study: str, ledger: Ledger) -> bool:
    """Return whether the study was begun with slots that are remembered."""
    return bool(recall(_path(ledger, study)))


def remember(
    study: str,
    slots: Slots,
    paces: Mapping[Slots, float],
    ledger: Ledger,
    expected: Mapping[str, float] | None = None,
) -> None:
    """Keep a study's slots with it, and what was measured for them; the threads stay.

    `expected` are the seconds of a run by arm, by which `status` says when a study ends.
    """
    path = _path(ledger, study)
    known = recall(path)
    same = known.get("devices") == list(slots.devices) and known.get("each", 1) == slots.each
    if same and not paces:
        if expected and known.get("expected", {}) != {**known.get("expected", {}), **expected}:
            write_json(path, known | {"expected": {**known.get("expected", {}), **expected}})
        return
    measured = [dataclasses.asdict(one) | {"images_per_second": paces[one]} for one in paces]
    known = {"schema_version": 1, **dataclasses.asdict(slots), "measured": measured}
    write_json(path, known | {"expected": dict(expected or {})})


def longest_first(jobs: Sequence[T], expected: Mapping[str, float]) -> list[T]:
    """Return jobs by expected seconds, the longest first, so that the last worker idles least.

    Jobs whose seconds are within about a tenth keep their order: so much is noise, and the plan's
    order completes one seed of all arms before the next.
    """

    def rank(job: T) -> int:
        seconds = expected.get(job.arm, 0.0)
        return -round(math.log(seconds) / math.log(_TIE)) if seconds > 0 else sys.maxsize

    return sorted(jobs, key=rank)


def at_once(count: int, need: int, free: int | None) -> int:
    """Return how many of `count` tasks that need so many bytes each fit into what is free."""
    if free is None or need <= 0:
        return count
    return max(min(count, int(free // (MARGIN * need))), 1)


def bounded(
    slots: Slots, used: Footprint | None, device_free: int | None, host_free: int | None
) -> Slots:
    """Return slots of which all runs fit into memory at once; at least one is left.

    Args:
        slots: that are wanted.
        used: by the largest run that was measured; None: not known.
        device_free: bytes of each GPU; None on a CPU.
        host_free: bytes of the machine; None: not known.
    """
    if used is None:
        return slots
    count = at_once(slots.count, used.host * slots.each, host_free)
    if device_free is not None:
        shared = at_once(slots.count, used.device, device_free)
        count = min(count, shared * len(slots.devices))
    return dataclasses.replace(slots, count=count)


def candidates(slots: Slots, runs: int, cores: int) -> list[Slots]:
    """Return the packings to try, the rule's first, and no other for runs on several devices.

    Several runs per GPU where there are as many runs; on a CPU the cores in groups of 2 and 4.
    """
    found = [slots]
    for share in _SHARES[1:] if slots.each == 1 else ():
        if slots.devices == ("cpu",):
            count, threads = cores // share, share
        else:
            count = len(slots.devices) * share
            threads = max(min(cores // count, slots.threads), 1)
        if 1 <= count <= runs and cores >= threads * count:
            found.append(dataclasses.replace(slots, count=count, threads=threads))
    return found


def pays(seconds: float, tried: int) -> bool:
    """Return whether a study of so many seconds is long enough to try so many packings."""
    return tried > 1 and seconds > _PAYS * tried * (LEAD + WINDOW)


def fastest(paces: Mapping[Slots, float]) -> Slots:
    """Return the packing of most images per second; the first one where none is clearly better."""
    first = next(iter(paces))
    best = max(paces, key=lambda one: paces[one])
    return best if paces[best] > _BETTER * paces[first] else first


def try_out(
    pool: LocalPool,
    recipe: Recipe,
    execution: Execution,
    tries: Sequence[Slots],
    *,
    lead: float = LEAD,
    window: float = WINDOW,
) -> dict[Slots, float]:
    """Return the images per second of all workers together, by packing, measured on real workers.

    A packing of which a worker fails (for want of memory, say) is left out, and so is what would
    ask more of a device than it.

    Args:
        pool: of free workers; it is left with as many as the last packing asked for.
        recipe: of the run that takes longest.
        execution: where its data are.
        tries: packings, by rising number of runs per device.
        lead: seconds for building before the steps are counted.
        window: seconds in which they are.
    """
    from ablations.launch.pace import Pace

    paces: dict[Slots, float] = {}
    for slots in tries:
        pool.resize(slots.count, slots.threads)
        begin = time.monotonic() + lead
        task = Pace(recipe=recipe, execution=execution, begin=begin, end=begin + window)
        values = [event.value for event in pool.run([task] * slots.count) if event.what == "paced"]
        if all(value is not None for value in values):
            paces[slots] = sum(values)
        elif slots.devices != ("cpu",):
            break
    return paces


def told(paces: Mapping[Slots, float], chosen: Slots) -> str:
    """Return one line on what was measured and what is taken."""
    figures = "; ".join(f"{one.words}: {pace:.0f} images/s" for one, pace in paces.items())
    return f"packing: {chosen.words} (measured: {figures})"


def free_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that new processes may take: of the machine and of this container.

    None where the system does not say (not Linux).
    """
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    available = next((line for line in lines if line.startswith("MemAvailable:")), None)
    found = [int(available.split()[1]) * 1024] if available else []
    for folder, limit, usage, idle in _groups(root):
        most, now = _number(folder / limit), _number(folder / usage)
        if most is not None and now is not None:
            found.append(max(most - now + _reclaimable(folder / "memory.stat", idle), 0))
    return min(found, default=None)


def _groups(root: Path) -> list[tuple[Path, str, str, str]]:
    """Return the control groups above this process, and the names of their figures: v2 and v1."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        number, controllers, place = line.split(":", 2)
        if number == "0":
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        parts = [part for part in place.split("/") if part not in ("", "..")]
        # A container may see its own group as the root: whatever of the path is there counts.
        folders = [top.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
        found += [(folder, *names) for folder in folders]
    return found


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None  # "max": no limit


def _reclaimable(path: Path, name: str) -> int:
    """Return the bytes of files that a group holds only as a cache."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[0] == name), 0)


def _path(ledger: Ledger, study: str) -> Path:
    return ledger.study_folder(study) / "packing.json"


def _devices(device: str, each: int = 1) -> tuple[str, ...]:
    """Return the devices of the slots: of every slot the first, where each run has several."""
    if device == "cpu" or (device == "auto" and not os.path.exists("/dev/nvidiactl")):
        return ("cpu",) if device == "cpu" or sys.platform != "darwin" else ("auto",)
    if device != "auto" and each == 1:
        return (device,)
    import torch

    count = torch.cuda.device_count()
    if each == 1:
        return tuple(f"cuda:{number}" for number in range(count)) or ("cpu",)
    kind, _, number = device.partition(":")
    found = gpu_groups(count, each, int(number or 0))
    return found if kind == "auto" else found[:1]


def gpu_groups(count: int, each: int, begin: int = 0) -> tuple[str, ...]:
    """Return the first GPU of every group of `each`, among `count` from number `begin` on.

    Raises:
        RequestError: there is no such group.
    """
    found = tuple(f"cuda:{first}" for first in range(begin, count - each + 1, each))
    if not found:
        after = f" from number {begin} on" if begin else ""
        raise RequestError(
            f"--devices {each}: this machine has {count} GPU{'' if count == 1 else 's'}, so"
            f" {max(count - begin, 0)} for a run{after}"
        )
    return found
