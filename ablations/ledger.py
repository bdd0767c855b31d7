"""The ledger: what became of every run, in files that are whole or not there.

`runs/<run id>/` holds one run. Done means a recorded terminal status, not that a file exists.
Longer than most: all that is written into a home, and how it is held, is here.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ablations.errors import RequestError
from ablations.leases import Lease, held, holder_of
from ablations.names import checked_identity, checked_study, is_identity
from ablations.plans import Outcome, Run
from lightning_modules.files import digest_of, read_json, write_json, write_text
from recipes import Recipe, dumps
from recipes.identity import digest, fingerprint

SCHEMA = 1
TERMINAL = frozenset({"finished", "failed", "diverged", "out_of_memory", "timed_out"})
COSTS = ("params", "macs", "train_images_per_second", "peak_memory_bytes", "seconds")
# What a finished run keeps and its status knows the SHA-256 of; its log may still be written to.
KEPT = (
    "recipe.yaml",
    "certificate.json",
    "environment.json",
    "metrics.jsonl",
    "result.json",
    "predictions.npz",
    "correct.npy",
    "minival_correct.npy",
    "weights.pt",
)
MEASURED = ("loss", "evaluated_images", "chance_top1", "train_seconds", "data_seconds")


def run_id(recipe: Recipe, data_fingerprint: str, seed: int, parents: Sequence[str] = ()) -> str:
    """Return the identity of a run: everything that can change its result, and nothing else."""
    return run_ids(recipe, data_fingerprint, [seed], parents)[seed]


def run_ids(
    recipe: Recipe, data_fingerprint: str, seeds: Sequence[int], parents: Sequence[str] = ()
) -> dict[int, str]:
    """Return the identities of the runs of one recipe by seed; it is fingerprinted once."""
    from lightning_modules.execution import RESULTS_VERSION

    known = (fingerprint(recipe), data_fingerprint)
    return {seed: digest([*known, seed, list(parents), RESULTS_VERSION]) for seed in seeds}


class Ledger:
    """The files of one home."""

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()  # workers may stand in another folder

    @property
    def cache(self) -> Path:
        """Return the folder of decoded images and remembered facts."""
        return self.home / "cache"

    def run_folder(self, run: str) -> Path:
        """Return the folder of a run.

        Raises:
            RequestError: the identity, which a file may have given, could leave the home.
        """
        return self.home / "runs" / checked_identity(run)

    def training_folder(self, training: str) -> Path:
        """Return the folder of a training that several runs are read off.

        Raises:
            RequestError: as `run_folder`.
        """
        return self.home / "trainings" / checked_identity(training)

    def study_folder(self, study: str) -> Path:
        """Return the folder of a study.

        Raises:
            RequestError: the name could leave the home.
        """
        return self.home / "studies" / checked_study(study)

    def studies(self) -> list[str]:
        """Return the names of the studies, newest first."""
        folder = self.home / "studies"
        if not folder.is_dir():
            return []
        found = [entry for entry in folder.iterdir() if (entry / "plan.yaml").exists()]
        return [path.name for path in sorted(found, key=_age, reverse=True)]

    def check_writable(self) -> None:
        """Make the home.

        Raises:
            RequestError: it cannot be written.
        """
        try:
            for part in ("runs", "studies", "cache"):
                (self.home / part).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.home):
                pass
        except OSError as error:
            raise RequestError(
                f"the home {self.home} cannot be written: {error.strerror}; choose another with"
                " --home DIR"
            ) from None

    def status(self, run: str) -> str:
        """Return the status of a run; `missing` where it was never started.

        Raises:
            RequestError: the file is damaged or of a later version.
        """
        return str(self._read(run, "status.json").get("status", "missing"))

    @contextlib.contextmanager
    def hold_study(self, study: str) -> Iterator[None]:
        """Hold a study's folder against other processes, for as long as its plan is written."""
        with held(self.study_folder(study), lambda: None, every=0.05):
            yield

    def is_held(self, run: str) -> bool:
        """Return whether a living process may be making the run.

        It may where the process is of another machine, however long it has been silent: to judge
        that takes minutes of looking, as `claim` does.
        """
        holder = holder_of(self.run_folder(run))
        return holder is not None and not holder.gone

    def claim(self, run: str, wait: Callable[[], None]) -> AbstractContextManager[Lease]:
        """Hold a run against other processes, on this machine and on others that see the home.

        `wait` is called about once a second while another one holds it. The hold ends with the
        process, however it ends. Who holds several claims them in the order of their names, so that
        no two processes wait for each other.
        """
        return held(self.run_folder(run), wait)

    def claim_training(
        self, training: str, wait: Callable[[], None]
    ) -> AbstractContextManager[Lease]:
        """Hold a training against other processes, after its runs: others may be read off it."""
        return held(self.training_folder(training), wait)

    def outcome(self, run: Run) -> Outcome:
        """Return what the ledger holds of a run."""
        status = self._read(run.id, "status.json")
        if status.get("status") != "finished":
            found = str(status.get("status", "missing"))
            return Outcome(run=run, status=found, error=str(status.get("message", "")))
        result = self._read(run.id, "result.json")
        if not isinstance(result.get("top1"), float | int) or not math.isfinite(result["top1"]):
            path = self.run_folder(run.id) / "result.json"
            raise RequestError(
                f"{path} is damaged: the run is finished, but its accuracy is"
                f" {result.get('top1')!r}; see `ablate doctor`"
            )
        return Outcome(
            run=run,
            status="finished",
            value=result["top1"],
            seconds=result.get("seconds"),
            cost={name: result.get(name) for name in COSTS},
            data_fingerprint=result.get("data_fingerprint"),
            results_version=result.get("results_version"),
            minival=self._minival(run.id, result),
            **{name: _number(result.get(name)) for name in MEASURED},
        )

    def _minival(self, run: str, result: Mapping[str, Any]) -> float | None:
        """Return the accuracy on minival after the last step, or None.

        A result of before it was kept has it in its curve, where that has a point at the end.
        """
        if "minival_top1" in result:
            known: float | None = _number(result["minival_top1"])
            return known
        path = self.run_folder(run) / "metrics.jsonl"
        try:
            last = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
        except (OSError, ValueError, IndexError):
            return None
        at_end = isinstance(last, dict) and last.get("epoch") == result.get("epochs")
        found: float | None = _number(last.get("val/top1")) if at_end else None
        return found

    def certificates(self, path: Path) -> list[dict[str, Any]]:
        """Return the certificates in a file of a study or a run; empty where there is none.

        A damaged file costs no result: it is told in place of its certificates, as `damaged`.
        """
        try:
            found = self._read_file(path).get("certificates", [])
        except RequestError:
            found = None
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            return [{"damaged": str(path)}]
        return found

    def keep_certificates(self, study: str, certificates: Sequence[Mapping[str, Any]]) -> None:
        """Write certificates beside the plan of a study; those of a later revision stay."""
        path = self.study_folder(study) / "certificates.json"
        known = [*self.certificates(path), *certificates]
        found = {(one["arm"], one["parent"]): one for one in known if "damaged" not in one}
        write_json(path, {"schema_version": SCHEMA, "certificates": list(found.values())})

    def record(self, run: str) -> dict[str, Any]:
        """Return all that a run's status says, as where and since when it runs; empty: missing."""
        return self._read(run, "status.json")

    def progress(self, run: str) -> dict[str, Any]:
        """Return how far the process that makes a run said it was; empty where it did not."""
        return recall(self.run_folder(run) / "progress.json")

    def result(self, run: str) -> dict[str, Any]:
        """Return the whole result of a finished run; empty where there is none."""
        return self._read(run, "result.json")

    def begin(self, run: str, recipe: Recipe, seed: int, data: str, training: str = "") -> Path:
        """Record that a run has started, as part of a training or alone; return its folder."""
        folder = self.run_folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").unlink(missing_ok=True)  # of an attempt that is made again
        about = {"run": run, "seed": seed, "data": data, "fingerprint": fingerprint(recipe)}
        write_text(folder / "recipe.yaml", dumps(recipe, about))
        self._set_status(
            run,
            "running",
            pid=os.getpid(),
            host=platform.node(),
            started=time.time(),
            seed=seed,
            training=training,
        )
        return folder

    def keep_results(self, training: str, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep the results of all runs of a training at once, before any is recorded.

        Those of other runs, whose maker was killed before it recorded them, stay: each counts as
        long as its run has not begun again. To be called by who holds the training and the runs.
        """
        path = self.training_folder(training) / "results.json"
        known = self._read_file(path)
        begun = {run: self._read(run, "status.json").get("started") for run in results}
        value = {
            "schema_version": SCHEMA,
            "results": {**known.get("results", {}), **results},
            "started": {**known.get("started", {}), **begun},
        }
        write_json(path, value)

    def can_recover(self, run: str) -> bool:
        """Return whether the result of a run is there that has no terminal status yet."""
        return bool(self._unrecorded(run))

    def recover(self, run: str) -> None:
        """Record how a run ended whose maker was killed between its result and its status."""
        if result := self._unrecorded(run):
            self.finish(run, result["status"], result, result["message"])

    def _unrecorded(self, run: str) -> dict[str, Any]:
        status = self._read(run, "status.json")
        if status.get("status") not in ("running", "interrupted"):
            return {}
        result = self.result(run)
        if not result and (training := status.get("training")):
            kept = self._read_file(self.training_folder(training) / "results.json")
            if kept.get("started", {}).get(run) == status.get("started"):
                result = kept.get("results", {}).get(run, {})
        return result

    def finish(self, run: str, status: str, result: Mapping[str, Any] | None, message: str) -> None:
        """Record how a run ended; the result is on the disk before the status says so."""
        folder = self.run_folder(run)
        if result is not None:
            write_json(folder / "result.json", {"schema_version": SCHEMA, **result})
        more: dict[str, Any] = {"ended": time.time(), "message": message}
        if status == "finished":
            paths = [path for name in KEPT if (path := folder / name).exists()]
            more["files"] = {path.name: digest_of(path) for path in paths}
        self._set_status(run, status, **more)
        (folder / "progress.json").unlink(missing_ok=True)

    def files(self, run: str) -> dict[str, str]:
        """Return the SHA-256 of what a finished run keeps, by name; empty of older versions."""
        known = self._read(run, "status.json").get("files", {})
        return {name: str(known[name]) for name in KEPT if name in known}

    def forget(self, run: str) -> None:
        """Take back the status of a run that did not finish, so that it is made again.

        Raises:
            RequestError: the run finished; a finished run goes only when named.
        """
        if self.status(run) == "finished":
            raise RequestError(f"run {run} is finished and is kept")
        for name in ("result.json", "status.json"):
            (self.run_folder(run) / name).unlink(missing_ok=True)

    def find_run(self, prefix: str) -> str | None:
        """Return the one run whose identity begins so, or None.

        Raises:
            RequestError: several do.
        """
        folder = self.home / "runs"
        if len(prefix) < 4 or not folder.is_dir():
            return None
        names = (entry.name for entry in folder.iterdir() if is_identity(entry.name))
        found = sorted(name for name in names if name.startswith(prefix))
        if len(found) > 1:
            raise RequestError(f"{prefix!r} begins {len(found)} runs: {', '.join(found[:5])}")
        return found[0] if found else None

    def _set_status(self, run: str, status: str, **more: Any) -> None:
        self.run_folder(run).mkdir(parents=True, exist_ok=True)
        kept = {
            key: value
            for key, value in self._read(run, "status.json").items()
            if key in ("seed", "started", "training")
        }
        value = {**kept, "schema_version": SCHEMA, "status": status, **more}
        write_json(self.run_folder(run) / "status.json", value)

    def _read(self, run: str, name: str) -> dict[str, Any]:
        # Joined Paths took half the time.
        return self._read_file(f"{self.home}/runs/{checked_identity(run)}/{name}")

    def _read_file(self, path: Path | str) -> dict[str, Any]:
        try:
            found = read_json(path)
        except PermissionError:
            raise
        except (OSError, ValueError) as error:
            words = str(error) if str(path) in str(error) else f"{path} is damaged: {error}"
            raise RequestError(f"{words}; see `ablate doctor`") from None
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise RequestError(f"{path} is damaged: it holds {found!r:.40}; see `ablate doctor`")
        if found.get("schema_version") != SCHEMA:
            raise RequestError(
                f"{path} is of schema version {found.get('schema_version')!r}, this program reads"
                f" {SCHEMA}: it was written by another version"
            )
        return found


def recall(path: Path) -> dict[str, Any]:
    """Return what a memory in the cache holds; empty where there is none or it is damaged."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> Any:
    return value if isinstance(value, float | int) and math.isfinite(value) else None


def _age(folder: Path) -> float:
    return (folder / "plan.yaml").stat().st_mtime
