"""What can be wrong with the folder of a study, and what mends it. Imports nothing named there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ablations.errors import RequestError
from ablations.findings import (
    Finding,
    earlier_lock,
    files,
    folders,
    leftovers,
    remove,
    unreadable_json,
)
from ablations.frozen import thaw

_BEFORE_A_PLAN = {"certificates.json", "packing.json"}  # written before it; worth nothing alone
_MADE_AGAIN = ("dashboard.json", "packing.json", "report.json")
_RESTORE = "its runs are safe: restore it from a copy, or plan the study again under another name"


def study_findings(folder: Path, young: float) -> Iterator[Finding]:
    """Find what is wrong with the folder of a study; what is older than `young` is left over."""
    yield from leftovers(folder, young)
    yield from earlier_lock(folder)
    names = [path.name for path in files(folder) if not path.name.startswith((".", "lease."))]
    if not folders(folder) and set(names) <= _BEFORE_A_PLAN:

        def empty() -> None:
            for name in names:
                remove(folder / name)()

        what = "is half-written: no plan" if names else "is the empty folder of a refused study"
        yield Finding(path=folder, what=what, deed="removed", mend=empty)
        return
    if "plan.yaml" not in names:
        yield Finding(path=folder / "plan.yaml", what="is missing", deed=_RESTORE)
    for name in names:
        path, number = folder / name, name.removeprefix("plan-").removesuffix(".yaml")
        if name == "plan.yaml" or (name == f"plan-{number}.yaml" and number.isdecimal()):
            try:
                thaw(folder, None if name == "plan.yaml" else int(number))
            except RequestError as error:
                what = f"cannot be read ({str(error).removeprefix(f'{path} ')})"
                yield Finding(path=path, what=what, deed=_RESTORE)
        elif name.startswith("plan"):  # plan.json: `thaw` has written it again if it was damaged
            continue
        elif name.endswith(".json") and (words := unreadable_json(path)):
            made_again = name in _MADE_AGAIN
            deed = "removed; the study's command writes it again" if made_again else _RESTORE
            mend = remove(path) if made_again else None
            yield Finding(path=path, what=words, deed=deed, mend=mend)
