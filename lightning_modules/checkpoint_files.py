"""The files of a training's checkpoints: known by their own hash, the one before kept. No torch.

A checkpoint is `<step>.<sha256>.ckpt`. Its name is given after its content is on the disk, so that
a file under such a name either is what was written, or shows that it is not.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_modules.files import read_json, write_json
from recipes import Recipe, fingerprint

FOLDER = "checkpoint"
SCHEMA = 2  # of what a checkpoint holds; another one begins anew
_NAME = re.compile(r"(\d+)\.([0-9a-f]{64})\.ckpt")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A file that says it is a checkpoint."""

    path: Path
    step: int
    sha256: str

    def is_whole(self) -> bool:
        """Return whether the file holds what was written; an unreadable one does not."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except OSError:
            return False


def checkpoints(folder: Path) -> list[Checkpoint]:
    """Return the files of a folder that say they are checkpoints, newest first.

    One that its run replaces while it is looked at is left out.
    """
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match:
            with contextlib.suppress(FileNotFoundError):
                made = path.stat().st_mtime_ns
                one = Checkpoint(path=path, step=int(match[1]), sha256=match[2])
                found.append((one.step, made, one))
    return [one for *_, one in sorted(found, key=lambda entry: entry[:2], reverse=True)]


def newest(folder: Path, recipes: Sequence[Recipe]) -> Path | None:
    """Return the newest checkpoint that is whole and was made for these readings, or None.

    Whatever else is in the folder is removed: nobody else is at work in it. Damage is logged.
    """
    if folder.is_symlink():  # what is removed below must not be somebody's files elsewhere
        folder.unlink()
    about = {"schema_version": SCHEMA, "readings": [fingerprint(recipe) for recipe in recipes]}
    note = folder / "readings.json"
    try:
        same = read_json(note) == about
    except ValueError:
        same = False
    if not same:
        if checkpoints(folder):
            _log.warning("the checkpoints here are of other recipes, or %s is damaged: anew", note)
        shutil.rmtree(folder, ignore_errors=True)
        write_json(note, about)
        return None
    chosen: Path | None = None
    for one in checkpoints(folder):
        if one.is_whole():
            chosen = one.path
            break
        _log.warning(
            "the checkpoint of step %d is damaged (%s does not have the hash of its name): going on"
            " from the one before, or anew where there is none",
            one.step,
            one.path.name,
        )
        one.path.unlink(missing_ok=True)
    kept = {one.path for one in checkpoints(folder)} | {note}
    for path in folder.iterdir():
        if path not in kept:  # left by a process that was killed as it wrote
            path.unlink(missing_ok=True)
    return chosen
