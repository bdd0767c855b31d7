"""The folder of one submission to a cluster: its jobs as plain values, and where they went.

`submissions/<nonce>/` in the home belongs to whoever submitted, and only they can look into it:
what a node finds there it carries out. So a folder of another owner or with other rights is not
read, and nothing in it is unpickled, by us or by a node.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.errors import RequestError
from ablations.launch.job import Job, module_places
from lightning_modules.execution import Execution
from lightning_modules.files import write_json
from recipes import Recipe, dumps, fingerprint
from recipes.yaml import loads

SCHEMA = 1
_FOLDER = "submissions"
_RECORD = "submission.json"


class NotPrivate(Exception):
    """A folder or file that somebody else could have written."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Runs that were handed to a cluster together."""

    folder: Path
    cluster: str
    runs: tuple[tuple[str, ...], ...]  # of each job, by its place in the array
    array: int | None = None  # the cluster's number; None: not known, for it was being submitted

    @property
    def name(self) -> str:
        """Return the name of its jobs, which no other submission has: numbers start again."""
        return f"ablate-{self.folder.name}"

    def task(self, place: int) -> str:
        """Return how the cluster calls a job."""
        return f"{self.array}_{place}" if len(self.runs) > 1 else f"{self.array}"

    def log(self, place: int) -> Path | None:
        """Return the log of a job, if there is one."""
        return next(iter(sorted(self.folder.glob(f"{self.task(place)}_*log.out"))), None)


def create(home: Path, cluster: str, jobs: Sequence[Job]) -> Submission:
    """Write what the nodes need for these jobs. They are not submitted yet."""
    folder = home.absolute() / _FOLDER / secrets.token_hex(8)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    folder.chmod(0o700)  # whatever the umask took away
    texts: dict[int, str] = {}  # of recipes, which the jobs of an arm share
    for place, job in enumerate(jobs):
        tree = {"schema_version": SCHEMA, "path": module_places(), "job": _plain_job(job, texts)}
        (folder / f"job-{place}.json").write_text(json.dumps(tree), encoding="utf-8")
    made = Submission(
        folder=folder,
        cluster=cluster,
        runs=tuple(tuple(one.run for one in job.all) for job in jobs),
    )
    _record(made)
    return made


def with_array(submission: Submission, array: int) -> Submission:
    """Record the number that the cluster gave to a submission, and return it so."""
    found = dataclasses.replace(submission, array=array)
    _record(found)
    return found


def remove(submission: Submission) -> None:
    """Remove the folder of a submission, logs too: all that it was for has ended well."""
    shutil.rmtree(submission.folder, ignore_errors=True)  # a node may be writing its last words


def known(home: Path) -> list[Submission]:
    """Return this user's submissions in a home, oldest first.

    Raises:
        RequestError: the record of one is damaged.
    """
    parent = home.absolute() / _FOLDER
    found = []
    for folder in parent.iterdir() if parent.is_dir() else ():
        try:
            tree = read_private(folder, _RECORD)
        except (FileNotFoundError, NotADirectoryError, NotPrivate, PermissionError):
            continue  # of another user, or killed before it was whole
        try:
            array = tree["array"]
            one = Submission(
                folder=folder,
                cluster=str(tree["cluster"]),
                runs=tuple(tuple(map(str, runs)) for runs in tree["runs"]),
                array=None if array is None else int(array),
            )
        except (KeyError, TypeError, ValueError):
            raise RequestError(f"{folder / _RECORD} is damaged; remove its folder") from None
        found.append((folder.stat().st_mtime, one))
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def read_private(folder: Path, name: str) -> dict[str, Any]:
    """Return the plain values in a file of a folder that nobody else can write to.

    Raises:
        FileNotFoundError, NotADirectoryError, PermissionError: there is none, or it is a link.
        NotPrivate: the folder is another user's, or others may look into it.
        RequestError: the file is damaged or of another version.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(folder, flags | os.O_DIRECTORY)
    except OSError as error:
        if folder.is_symlink():
            raise NotPrivate(f"{folder} is a link") from error
        raise
    try:
        about = os.fstat(handle)
        if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
            raise NotPrivate(
                f"{folder} belongs to user {about.st_uid} and has the rights"
                f" {stat.S_IMODE(about.st_mode):o}; only what is this user's alone is read"
            )
        # By the folder's handle: what was looked at is what is read, whatever the name is by now.
        with os.fdopen(os.open(name, flags, dir_fd=handle), "rb") as file:
            text = file.read()
    finally:
        os.close(handle)
    try:
        tree = json.loads(text)
    except ValueError as error:
        raise RequestError(f"{folder / name} is damaged: {error}; remove its folder") from None
    if not isinstance(tree, dict) or tree.get("schema_version") != SCHEMA:
        raise RequestError(
            f"{folder / name} was written by another version of this program; remove its folder"
        )
    return tree


def read_job(folder: Path, place: int) -> tuple[Job, list[str]]:
    """Return a job of a submission, and where its user's Python looks for modules.

    Raises:
        NotPrivate, OSError, RequestError: as `read_private`.
        RecipeError: its recipe is damaged.
    """
    tree = read_private(folder, f"job-{place}.json")
    return _job_of(tree["job"]), [str(part) for part in tree["path"]]


def last_words(log: Path | None) -> str:
    """Return the last line of a job's log, and where it is, to be put after other words."""
    if log is None:
        return (
            "; it left no log: is the home on a file system that the nodes see under the same path?"
        )
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - 4096, 0))
        lines = file.read().decode("utf-8", "replace").split("\n")
    # Less what srun says of every end.
    dull = re.compile(r"srun: (Force Terminated|Terminating)|.*Exited with exit code \d+$")
    telling = [line.strip() for line in lines if line.strip() and not dull.match(line.strip())]
    last = telling[-1] if telling else "nothing"
    return f"; its log ends: {last:.200} ({log})"


def _record(submission: Submission) -> None:
    tree = {
        "schema_version": SCHEMA,
        "cluster": submission.cluster,
        "array": submission.array,
        "runs": submission.runs,
    }
    write_json(submission.folder / _RECORD, tree)


def _plain_job(job: Job, texts: dict[int, str]) -> dict[str, Any]:
    text = texts.setdefault(id(job.recipe), "") or dumps(job.recipe)
    texts[id(job.recipe)] = text
    return {
        "run": job.run,
        "arm": job.arm,
        "seed": job.seed,
        "recipe": text,
        "fingerprint": fingerprint(job.recipe),
        "data": job.data,
        "home": str(job.home),
        "execution": _plain_execution(job.execution),
        "certificates": list(job.certificates),
        "training": job.training,
        "also": [_plain_job(one, texts) for one in job.also],
    }


def _job_of(tree: Mapping[str, Any]) -> Job:
    recipe: Recipe = loads(tree["recipe"], f"the recipe of run {tree['run']}")
    if fingerprint(recipe) != tree["fingerprint"]:
        raise RequestError(f"the recipe of run {tree['run']} is not the one that was submitted")
    return Job(
        run=tree["run"],
        arm=tree["arm"],
        seed=tree["seed"],
        recipe=recipe,
        data=tree["data"],
        home=Path(tree["home"]),
        execution=_execution_of(tree["execution"]),
        certificates=tuple(tree["certificates"]),
        training=tree["training"],
        also=tuple(_job_of(one) for one in tree["also"]),
    )


def _plain_execution(execution: Execution) -> dict[str, Any]:
    fields = {one.name: getattr(execution, one.name) for one in dataclasses.fields(execution)}
    assert fields.pop("on_progress") is None
    return _plain_fields(fields)


def _execution_of(tree: Mapping[str, Any]) -> Execution:
    values = _fields_of(tree)
    values.pop("tracking", None)  # of an earlier version, whose runs logged themselves
    return Execution(**values)


def _plain_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of which a path and a text that looks like one stay apart."""
    return {
        name: {"path": str(value)} if isinstance(value, Path) else value
        for name, value in fields.items()
    }


def _fields_of(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: Path(value["path"]) if isinstance(value, dict) and set(value) == {"path"} else value
        for name, value in tree.items()
    }
