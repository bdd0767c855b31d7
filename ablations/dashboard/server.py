"""What the server says, and where a study's boards are on it. Loads no client."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ablations.ledger import recall
from lightning_modules.files import write_json

SCHEMA = 1
KEPT = "dashboard.json"  # beside the plan
_LONGEST = 400  # of what the client says
_ASKING = "_url_to_viewspec"  # of the client's functions
# What the service says of a view that somebody has deleted.
_GONE = ("not found", "not find", "no such")


class ServerError(Exception):
    """The server does not answer, or refuses; in words."""


@contextmanager
def in_words(doing: str) -> Iterator[None]:
    """Tell what goes wrong with the server in a block that calls the client and nothing else.

    Raises:
        ServerError: in place of whatever the client raises: its errors have no common class.
    """
    try:
        yield
    except Exception as error:
        said = " ".join(str(error).split())[:_LONGEST] or type(error).__name__
        raise ServerError(f"{doing}: {said}") from error


def is_gone(error: Exception) -> bool:
    """Return whether an error of loading a view says that there is none on the server.

    Where the service answers with no view and no word, the client looks into it where it has just
    asked (`_ASKING`): a TypeError there. One of another place is no word of the server.
    """
    if isinstance(error, TypeError):
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        last = frames[-1].f_code.co_name if frames else ""
        return last == _ASKING and "'NoneType'" in str(error)
    return any(one in str(error).lower() for one in _GONE)


@dataclass(frozen=True, kw_only=True)
class Boards:
    """The boards of a study in one project of one server."""

    workspace: str | None = None  # addresses
    report: str | None = None
    content: str | None = None  # digest of what the analysis run last got


def recall_boards(folder: Path, project: str) -> Boards:
    """Return which boards a study has in a project, by its address; none where that is not known.

    A file that is damaged or of another version is as none: new boards are made.
    """
    known = recall(folder / KEPT)
    found = known.get("projects", {}) if known.get("schema_version") == SCHEMA else {}
    own = found.get(project, {}) if isinstance(found, dict) else {}
    names = Boards.__dataclass_fields__
    return Boards(**{key: own[key] for key in names if isinstance(own.get(key), str)})


def keep_boards(folder: Path, project: str, boards: Boards) -> None:
    """Keep which boards a study has in a project, beside those that it has in others."""
    known = recall(folder / KEPT)
    found = known.get("projects", {}) if known.get("schema_version") == SCHEMA else {}
    projects = {**(found if isinstance(found, dict) else {}), project: asdict(boards)}
    write_json(folder / KEPT, {"schema_version": SCHEMA, "projects": projects})
