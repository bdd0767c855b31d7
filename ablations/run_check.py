"""What can be wrong with the folder of a run or of a training, and what mends it. No torch.

Everything here is asked of a folder that nobody else is at work in. A finished run is never
removed: what is damaged of it is told. Longer than most: each kind of damage is a few lines.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ablations.errors import RequestError
from ablations.findings import Finding, earlier_lock, files, leftovers, remove, unreadable_json
from ablations.ledger import SCHEMA, Ledger
from ablations.names import is_identity
from lightning_modules.checkpoint_files import FOLDER, checkpoints
from lightning_modules.files import digest_of, json_text, read_json, write_text
from recipes import RecipeError, fingerprint
from recipes.identity import digest

_STARTED = {"recipe.yaml", "environment.json", "certificate.json", "log.txt"}  # made in a second
_DONE = ("finished", "diverged")  # no later call goes on from their checkpoints
_SINCE = ("recipe.yaml", "predictions.npz")  # kept of every finished run, in all versions
_NEEDED = {
    "result.json": "its result",
    "recipe.yaml": "its recipe",
    "predictions.npz": "its predictions, which `ablate diff` reads",
    "correct.npy": "which images it got right, which intervals read",
    "minival_correct.npy": "which images of minival it got right, which choices read",
    "weights.pt": "its weights",
    "metrics.jsonl": "its curve",
    "certificate.json": "its certificate",
    "environment.json": "what it ran on",
}


def run_findings(ledger: Ledger, run: str) -> Iterator[Finding]:
    """Find what is wrong with the folder of a run."""
    folder = ledger.run_folder(run)
    yield from leftovers(folder)
    yield from earlier_lock(folder)
    path = folder / "status.json"
    if unreadable_json(path):
        yield _lost_status(ledger, run, "is damaged")
        return
    about = read_json(path)
    if about is None:
        names = {one.name for one in files(folder) if not one.name.startswith(("lease.", "."))}
        inside = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
        if names <= _STARTED and not inside:
            what = "is half-written: a run that had not begun"
            yield Finding(path=folder, what=what, deed="removed", mend=lambda: _empty(folder))
        else:
            yield _lost_status(ledger, run, "is missing")
        return
    if about.get("schema_version") != SCHEMA:
        what = f"is of schema version {about.get('schema_version')!r}, this program reads {SCHEMA}"
        yield Finding(path=path, what=what, deed="use the version that wrote it")
        return
    status = about.get("status")
    if status == "running":
        yield _without_maker(ledger, run)
    if status == "finished":
        yield from _of_finished(ledger, run, about)
    yield from _checkpoints(folder, over=status in _DONE)


def training_findings(ledger: Ledger, training: str) -> Iterator[Finding]:
    """Find what is wrong with the folder of a training that several runs are read off."""
    folder = ledger.training_folder(training)
    yield from leftovers(folder)
    yield from earlier_lock(folder)
    known: dict[str, Any] = {}
    for name in ("training.json", "results.json"):
        if words := unreadable_json(folder / name):
            what = f"{words}; its runs have what it held, or are made again"
            yield Finding(path=folder / name, what=what, deed="removed", mend=remove(folder / name))
        else:
            known |= read_json(folder / name) or {}
    named = known.get("runs")
    runs = [one for one in named or () if isinstance(one, str) and is_identity(one)]
    statuses = set()
    for run in runs:
        with contextlib.suppress(RequestError):  # told at the run
            statuses.add(ledger.status(run))
    yield from _checkpoints(folder, over=bool(runs) and statuses <= set(_DONE))


def _lost_status(ledger: Ledger, run: str, what: str) -> Finding:
    """Return how a run gets a status again: its own where the files prove it, or interrupted."""
    folder = ledger.run_folder(run)
    path = folder / "status.json"
    if not (folder / "result.json").exists():

        def interrupt() -> None:
            path.unlink(missing_ok=True)
            words = "its status was lost (ablate doctor); the study's command makes it"
            ledger.finish(run, "interrupted", None, words)

        return Finding(path=path, what=what, deed="recorded as interrupted", mend=interrupt)
    result = _proven(folder, run)
    if result is None:
        deed = (
            "its result is here, but nothing shows that it is whole and of this run: restore the"
            " folder from a copy, or remove the folder yourself to have the run made again"
        )
        return Finding(path=path, what=what, deed=deed)
    whole = result

    def restore() -> None:
        path.unlink(missing_ok=True)
        ledger.finish(run, "finished", whole, str(whole.get("message", "")))

    deed = "written anew: its result and its recipe give this run's identity"
    return Finding(path=path, what=what, deed=deed, mend=restore)


def _proven(folder: Path, run: str) -> dict[str, Any] | None:
    """Return the result in a folder if it is finished and its recipe, data and seed are the run."""
    from recipes.yaml import from_tree, read_text, read_tree

    try:
        result = read_json(folder / "result.json")
        tree = read_tree(read_text(folder / "recipe.yaml"), "recipe.yaml")
        recipe = from_tree(tree, "recipe.yaml")
        parts = [result["data_fingerprint"], int(tree["about"]["seed"]), []]
        found = digest([fingerprint(recipe), *parts, result["results_version"]])
        whole = result["status"] == "finished" and math.isfinite(result["top1"])
    except (RecipeError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if found != run or not whole or result.get("schema_version") != SCHEMA:
        return None
    return {name: value for name, value in result.items() if name != "schema_version"}


def _without_maker(ledger: Ledger, run: str) -> Finding:
    path = ledger.run_folder(run) / "status.json"
    with contextlib.suppress(RequestError):  # a damaged result, which the run writes again
        if ledger.can_recover(run):
            what = "says running, and the result is there"
            mend = partial(ledger.recover, run)
            return Finding(path=path, what=what, deed="recorded from it", mend=mend)

    def end() -> None:
        if unreadable_json(path.with_name("result.json")):  # else the run could not go on
            path.with_name("result.json").unlink()
        ledger.finish(run, "interrupted", None, "its process is gone; the same command goes on")

    what = "says running, and nobody makes the run"
    return Finding(path=path, what=what, deed="recorded as interrupted", mend=end)


def _of_finished(ledger: Ledger, run: str, about: Mapping[str, Any]) -> Iterator[Finding]:
    folder = ledger.run_folder(run)
    known = ledger.files(run)
    wrong = _differing(folder, known) if known else _unrecorded(folder)
    for name, what in wrong:
        path = folder / name
        whole = _of_training(ledger, run, about) if name == "result.json" else None
        if whole is not None:
            deed, mend = "written again from its training's results", whole
            yield Finding(path=path, what=what, deed=deed, mend=mend)
            continue
        deed = (
            f"remove the folder yourself to have the run made again (it lost {_NEEDED[name]}), or"
            " restore the file from a copy"
        )
        yield Finding(path=path, what=what, deed=deed)


def _differing(folder: Path, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each file that is not what the run wrote, and what it is."""
    for name, sha256 in known.items():
        path = folder / name
        if not path.exists():
            yield name, "is missing"
        elif digest_of(path) != sha256:
            yield name, "is not what the run wrote (SHA-256)"


def _unrecorded(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield damage that shows by itself: of runs of before sizes and hashes were recorded."""
    result, path = None, folder / "result.json"
    if words := unreadable_json(path):
        yield path.name, words
    elif (result := read_json(path)) is None:
        yield path.name, "is missing"
    elif not isinstance(result.get("top1"), float | int) or not math.isfinite(result["top1"]):
        yield path.name, f"is damaged: its accuracy is {result.get('top1')!r}"
    for name in _NEEDED:
        path = folder / name
        if name == "result.json":
            continue
        if not path.exists():
            if name in _SINCE:
                yield name, "is missing"
        elif words := _unreadable(path):
            yield name, words


def _unreadable(path: Path) -> str:
    import numpy as np

    if path.suffix in (".npz", ".pt"):  # archives, which have a sum of each member
        try:
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
        except (zipfile.BadZipFile, EOFError):
            return "is damaged (no readable archive)"
        return f"is damaged (in {broken})" if broken else ""
    if path.suffix == ".npy":
        try:
            np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError):
            return "is damaged (no readable array)"
    if path.suffix == ".json":
        return unreadable_json(path)
    return "" if path.stat().st_size else "is empty"


def _of_training(ledger: Ledger, run: str, about: Mapping[str, Any]) -> Callable[[], None] | None:
    """Return what writes a finished run's result again, where its training's file has it whole."""
    training, path = about.get("training"), ledger.run_folder(run) / "result.json"
    if not isinstance(training, str) or not is_identity(training):
        return None
    try:
        held = read_json(ledger.training_folder(training) / "results.json")
        text = json_text({"schema_version": SCHEMA, **held["results"][run]})
        then = about["files"]["result.json"]
    except (ValueError, KeyError, TypeError):
        return None
    same = hashlib.sha256(text.encode()).hexdigest() == then
    return (lambda: write_text(path, text)) if same else None


def _checkpoints(folder: Path, over: bool) -> Iterator[Finding]:
    """Find checkpoints that nobody will go on from, or that do not hold what was written."""
    inside = folder / FOLDER
    if inside.is_symlink() or not inside.is_dir():
        return
    if over:
        what = "is of a training that is over"
        yield Finding(path=inside, what=what, deed="removed", mend=partial(shutil.rmtree, inside))
        return
    yield from leftovers(inside)
    for one in checkpoints(inside):
        if os.access(one.path, os.R_OK) and not one.is_whole():
            what = "is damaged: not the hash of its name"
            deed = "removed; the run goes on from the one before, or anew where there is none"
            yield Finding(path=one.path, what=what, deed=deed, mend=remove(one.path))


def _empty(folder: Path) -> None:
    """Remove the files of a folder but for leases, by which it is held until it goes."""
    for path in files(folder):
        if not path.name.startswith("lease."):
            path.unlink(missing_ok=True)
