"""Who is at work in a folder, on this machine or on another that shares the file system.

A lease is a file `lease.<generation>` with what names its holder, made whole and exclusively. Its
time of change is the heartbeat. Nothing here compares clocks of two machines, nor trusts one:
a holder is gone when its process is, which is seen on its own machine, or when its lease has not
changed for `STALE_SECONDS` of the observer's own steady clock. A stale lease is not removed but
followed: by one of the next generation that names it, which only one observer can make. So a holder
that was only slow finds out, and two never hold at once.

No locks of the file system: they are unreliable or absent on shared ones, and say nothing about
a machine that is gone. Longer than most: all that makes the claim above true is here.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.errors import RequestError

SCHEMA = 1
BEAT_SECONDS = 10.0
# Of no change, until a lease of another machine is stale. Twice the 60 s for which NFS may show
# an old time of change (its acregmax), and twelve beats.
STALE_SECONDS = 120.0
_PREFIX = "lease."


class LeaseLost(Exception):
    """Another process took a lease over: this one showed no life for too long."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """What a lease says of who holds it."""

    path: Path
    generation: int
    token: str  # unique; empty where the file is damaged
    after: str  # token of the stale lease that this one follows
    about: dict[str, Any]  # host, boot, namespace, pid, ticks, began
    changed: int  # time of change, nanoseconds

    @property
    def here(self) -> bool:
        """Return whether the holder is or was on this machine, where processes can be looked at."""
        here = _machine()
        return None not in here.values() and all(self.about.get(key) == here[key] for key in here)

    @property
    def gone(self) -> bool:
        """Return whether it is certain that the holder ended: known on its own machine only."""
        if not self.here:
            return False
        pid = self.about.get("pid")
        return isinstance(pid, int) and _is_gone(pid, self.about.get("ticks"))


class Lease:
    """A hold on a folder, kept alive by a thread of this process until it is released."""

    def __init__(self, path: Path, generation: int, token: str) -> None:
        self.path, self._generation, self._token = path, generation, token
        self._lost = False
        self._beaten = time.monotonic()

    def check(self) -> None:
        """Look whether the hold still stands; at the disk only where no beat has just done so.

        Raises:
            LeaseLost: it does not.
        """
        if time.monotonic() - self._beaten > 3 * BEAT_SECONDS:
            self.confirm()
        if self._lost:
            raise LeaseLost(f"{self.path}: another process took over what this one was making")

    def confirm(self) -> None:
        """Look at the disk whether the hold still stands.

        Raises:
            LeaseLost: it does not.
        """
        found = _listed(self.path.parent)
        own = any(one.path == self.path and one.token == self._token for one in found)
        if not own or any(one.after == self._token for one in found):
            self._lost = True
            raise LeaseLost(f"{self.path}: another process took over what this one was making")
        self._beaten = time.monotonic()

    def beat(self) -> None:
        """Show that the holder lives, if it still holds."""
        try:
            self.confirm()
            os.utime(self.path)
        except (LeaseLost, FileNotFoundError):
            self._lost = True
        except OSError:
            # A full or absent disk: the next beat may succeed; `check` looks again before.
            self._beaten = time.monotonic() - 3 * BEAT_SECONDS

    def release(self) -> None:
        """End the hold. The leases that it followed go first: what is left always shows a hold."""
        _beats.remove(self)
        for one in _listed(self.path.parent):
            if one.generation < self._generation or one.token == self._token:
                with contextlib.suppress(OSError):  # it becomes stale by itself
                    one.path.unlink()


class Claim:
    """Attempts at a folder's lease, and what was seen of others' between them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[str, int, int] | None = None
        self._since = 0.0

    def attempt(self) -> Lease | None:
        """Return the lease, or None where somebody may be at work. The folder is there already.

        Raises:
            OSError: the folder cannot be written.
        """
        found = _listed(self._folder)
        holder = _holder(found)
        if holder is not None and not self._is_stale(holder):
            return None
        generation = max((one.generation for one in found), default=0) + 1
        path = self._folder / f"{_PREFIX}{generation}"
        token = uuid.uuid4().hex
        after = "" if holder is None else holder.token
        if not _create(path, token, after):
            return None
        lease = Lease(path, generation, token)
        if {one.token for one in _listed(self._folder)} != {one.token for one in found} | {token}:
            path.unlink(missing_ok=True)  # somebody came or went meanwhile: look anew
            return None
        _beats.add(lease)
        return lease

    def _is_stale(self, holder: Holder) -> bool:
        if holder.gone:
            return True
        now, seen = time.monotonic(), (holder.token, holder.generation, holder.changed)
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since >= STALE_SECONDS


@contextlib.contextmanager
def held(folder: Path, wait: Callable[[], None], every: float = 1.0) -> Iterator[Lease]:
    """Hold a folder, made where it is missing; call `wait` every so many seconds until it is free.

    Raises:
        OSError: the folder cannot be written.
        RequestError: it is a link, through which files elsewhere would be written.
    """
    claim = Claim(folder)
    while (lease := _attempt(claim, folder)) is None:
        wait()
        time.sleep(every)
    try:
        yield lease
    finally:
        lease.release()


@contextlib.contextmanager
def hold_if_free(folder: Path) -> Iterator[bool]:
    """Hold a folder where nobody may be at work in it; yield whether that is so.

    Raises:
        OSError, RequestError: as `held`.
    """
    lease = _attempt(Claim(folder), folder)
    try:
        yield lease is not None
    finally:
        if lease is not None:
            lease.release()


def _attempt(claim: Claim, folder: Path) -> Lease | None:
    if folder.is_symlink():
        raise RequestError(f"{folder} is a link: nothing is written through it; make it a folder")
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):  # removed since by `ablate doctor`: once more
        return claim.attempt()
    return None


def holder_of(folder: Path) -> Holder | None:
    """Return who holds a folder, living or not; None where nobody does."""
    return _holder(_listed(folder))


def leases_of(folder: Path) -> list[Path]:
    """Return the files of a folder's leases."""
    return [one.path for one in _listed(folder)]


def _holder(found: Iterable[Holder]) -> Holder | None:
    """Return the last of the leases that follow each other; others lost a race and will go."""
    holder: Holder | None = None
    for one in found:
        if holder is None or one.after == holder.token:
            holder = one
    return holder


def _listed(folder: Path) -> list[Holder]:
    """Return the leases of a folder, oldest first."""
    found = []
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    for name in names:
        number = name.removeprefix(_PREFIX)
        if name.startswith(_PREFIX) and number.isdecimal():
            one = _read(folder / name, int(number))
            if one is not None:
                found.append(one)
    return sorted(found, key=lambda one: one.generation)


def _read(path: Path, generation: int) -> Holder | None:
    try:
        # Opened, not only looked at: a shared file system answers `stat` from its memory.
        with path.open("rb") as file:
            changed = os.fstat(file.fileno()).st_mtime_ns
            about = json.loads(file.read())
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return None
        raise
    except ValueError:
        about = {}
    about = about if isinstance(about, dict) else {}
    return Holder(
        path=path,
        generation=generation,
        token=str(about.get("token", "")),
        after=str(about.get("after", "-")),
        about=about,
        changed=changed,
    )


def _create(path: Path, token: str, after: str) -> bool:
    """Make a lease, whole at once; return whether nobody was faster."""
    about: dict[str, Any] = {"schema_version": SCHEMA, "token": token, "after": after}
    about["began"] = time.time()
    about |= _machine() | {"pid": os.getpid()}
    with contextlib.suppress(FileNotFoundError):  # no /proc: judged by its beats alone
        about["ticks"] = _ticks(os.getpid())
    text = json.dumps(about).encode()
    aside = path.with_name(f".lease.{token}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
        os.link(aside, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        return _create_in_place(path, text)  # a file system without links
    finally:
        with contextlib.suppress(FileNotFoundError):
            aside.unlink()
    return True


def _create_in_place(path: Path, text: bytes) -> bool:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(handle, "wb") as file:
        file.write(text)
    return True


def _machine() -> dict[str, str | None]:
    """Return what tells this machine and its process numbers from others; None: not known."""
    boot: str | None = None
    namespace: str | None = None
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return {"host": platform.node(), "boot": boot, "namespace": namespace}


def _is_gone(pid: int, ticks: Any) -> bool:
    """Return whether a process of this machine ended; another may have its number by now."""
    try:
        return bool(_ticks(pid) != ticks)
    except (FileNotFoundError, ProcessLookupError):  # or hidden: processes of others may be
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def _ticks(pid: int) -> int | None:
    """Return when a process started, in ticks since boot; None: it ended and waits for its parent.

    Raises:
        FileNotFoundError, ProcessLookupError: there is none such.
    """
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    state, *rest = fields.rpartition(")")[2].split()
    return None if state in "ZX" else int(rest[18])  # field 22 of proc(5)


class _Beats:
    """One thread of this process that keeps its leases alive."""

    def __init__(self) -> None:
        self._leases: set[Lease] = set()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, lease: Lease) -> None:
        with self._guard:
            self._leases.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="leases", daemon=True)
                self._thread.start()

    def remove(self, lease: Lease) -> None:
        with self._guard:
            self._leases.discard(lease)

    def _keep(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            with self._guard:
                leases = list(self._leases)
            for lease in leases:
                lease.beat()


_beats = _Beats()


def _forget() -> None:
    """Begin anew in a forked process: the thread, and what it kept alive, is the parent's."""
    global _beats
    _beats = _Beats()


os.register_at_fork(after_in_child=_forget)
