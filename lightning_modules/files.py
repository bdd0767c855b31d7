"""Files that are whole or not there: written aside, flushed to the disk, renamed. No torch."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def write_aside(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` when the block ends without an error.

    The folder is made where it is missing. Not `durable`: whole or not there for who reads it, but
    it may be lost with the power.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    # Not mkstemp, whose files nobody else may read: a home may be shared by a group.
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(name, path)
        if durable:
            sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def refuse_everybody() -> None:
    """Let only the owner and, where the mask allows it, the group write what this process makes."""
    mask = os.umask(0o077)
    os.umask(mask | 0o002)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk: a renamed file survives a power cut only then."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system without it
            raise
    finally:
        os.close(handle)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a whole text file in UTF-8; `durable` as in `write_aside`."""
    with write_aside(path, durable=durable) as file:
        file.write(text.encode("utf-8"))


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write a whole JSON file of `json_text`; `durable` as in `write_aside`."""
    write_text(path, json_text(value), durable=durable)


def json_text(value: Any) -> str:
    """Return the text of a JSON file, the same for equal values; NaN and infinities are refused."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_json(path: Path | str) -> Any:
    """Read a JSON file, or return None where there is none.

    Raises:
        ValueError: it is not JSON; with the path.
    """
    try:
        # A look at a study reads tens of thousands of these: as bytes, by one call.
        with open(path, "rb", buffering=0) as file:
            text = file.read().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, read piece by piece.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
