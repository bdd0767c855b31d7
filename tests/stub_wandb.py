"""A W&B server on loopback that records what the real client sends and answers as the service does.

It keeps runs as the service would (a line of a curve stands at its offset: sent twice, it is there
once), and every request as it came. It proves what the client sends, not how the service shows it.

    with StubServer() as server:
        environment |= server.environment(folder)   # of a process that uses the client
        ...
        server.runs["the-id"].history               # rows of the curve
        server.operations["upsertView"]             # variables of each call of the API
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ENTITY = "stub-team"
KEY = "local-" + "k" * 40  # of the form that the client takes for one
MODES = ("ok", "slow", "broken")  # what is dead refuses connections: `dead_address`


@dataclass
class StubRun:
    """A run as the service holds it."""

    name: str  # its id
    bucket: dict[str, Any] = field(default_factory=dict)  # what was said of it last, by variable
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[int, str] = field(default_factory=dict)  # of the curve, by offset
    lines_received: int = 0  # repetitions counted
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None  # of the latest end; None: it is running, or never ended
    ends: int = 0
    upserts: int = 0

    @property
    def history(self) -> list[dict[str, Any]]:
        """Rows of the curve, in order, each once."""
        return [json.loads(self.lines[offset]) for offset in sorted(self.lines)]


class Refused(Exception):
    """What the service answers 400 to, with its words."""


class StubServer:
    """The server, as a context. `mode` may be changed while it serves.

    `ok` answers at once, `slow` after `delay` seconds, `broken` answers every request with 500.
    """

    def __init__(self, mode: str = "ok", delay: float = 0.5) -> None:
        assert mode in MODES, mode
        self.mode, self.delay = mode, delay
        self.runs: dict[str, StubRun] = {}
        self.refused: set[str] = set()  # ids of runs that it does not take
        self.views: dict[str, dict[str, Any]] = {}  # reports and workspaces, by id
        self.operations: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.requests: list[tuple[str, str]] = []  # method and path
        self.unknown: list[dict[str, Any]] = []  # calls that it has no answer for
        self.lock = threading.RLock()

    def __enter__(self) -> StubServer:
        stub = self

        class Answers(_Answers):
            server_state = stub

        self._http = _Quiet(("127.0.0.1", 0), Answers)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        """Where the client finds it (`WANDB_BASE_URL`)."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def environment(self, folder: Path) -> dict[str, str]:
        """Variables of a process that is logged in here; the client's own files go to `folder`."""
        return client_environment(self.address, folder)

    # What the service answers, by the name of the operation. `upsertView` and `UpsertView2` update
    # a view whose id is given, and make one otherwise.

    def answer(self, name: str, said: dict[str, Any]) -> dict[str, Any] | None:
        """Return the data of an answer, or None where the operation is not known."""
        match name:
            case "ServerFeaturesQuery":
                return {"serverInfo": {"features": []}}
            case "RunResumeStatus":
                return {"model": _project(said.get("project")) | {"bucket": self._resumed(said)}}
            case "UpsertBucket":
                return {"upsertBucket": self._upserted(said)}
            case "CreateRunFiles":
                files = [
                    {"name": one, "uploadUrl": f"{self.address}/storage/{said['run']}/{one}"}
                    for one in said["files"]
                ]
                return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": files}}
            case "MarkRunFilesUploaded":
                return {"markRunFilesUploaded": {"success": True}}
            case "CreateArtifact":
                made = {"id": "artifact", "state": "COMMITTED"}
                latest = {"id": "artifact", "versionIndex": 0}
                made["artifactSequence"] = {"id": "sequence", "latestArtifact": latest}
                return {"createArtifact": {"artifact": made}}
            case "Viewer" | "GetDefaultEntity":
                return {"viewer": _viewer()}
            case "ArtifactType":  # of the table that a run logged before
                return {"project": {"artifact": None}}
            case "ProjectInternalId":
                return {"project": {"id": "project", "internalId": "cHJvamVjdA=="}}
            case "GetProjects":
                node = {"node": {"name": "ablate", "id": "project"} | _OF_A_PROJECT}
                page = {"endCursor": None, "hasNextPage": False}
                return {"models": {"edges": [node], "pageInfo": page}}
            case "upsertView" | "UpsertView2":
                return {"upsertView": self._view(said)}
            case "View":
                found = [one for one in self.views.values() if one["name"] == said.get("viewName")]
                edges = [{"node": one} for one in found]
                return {"project": {"allViews": {"edges": edges}}}
            case "SpecificReport":
                return {"view": self.views.get(str(said.get("reportId")))}
        return None

    def _resumed(self, said: dict[str, Any]) -> dict[str, Any] | None:
        run = self.runs.get(said["name"])
        if run is None:
            return None
        tail = [run.lines[offset] for offset in sorted(run.lines)[-1:]]
        # Without "t", which every client writes, a run counts as never begun.
        return {
            "id": "run",
            "name": run.name,
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.bucket.get("displayName"),
            "logLineCount": 0,
            "historyLineCount": len(run.lines),
            "eventsLineCount": 0,
            "historyTail": json.dumps(tail),
            "eventsTail": "[]",
            "config": json.dumps(run.config),
            "tags": run.bucket.get("tags") or [],
            "notes": None,
            "wandbConfig": json.dumps(
                {"t": run.config.get("_wandb", {}).get("value", {}).get("t")}
            ),
        }

    def _upserted(self, said: dict[str, Any]) -> dict[str, Any]:
        name = said.get("name") or ""
        if name in self.refused:
            raise Refused(f"run {name} was deleted")
        for key, longest in _LONGEST.items():
            texts = said.get(key) or []
            for text in [texts] if isinstance(texts, str) else texts:
                if len(text) > longest:
                    raise Refused(f"invalid {key} {text!r}: at most {longest} letters")
        new = name not in self.runs
        run = self.runs.setdefault(name, StubRun(name))
        run.upserts += 1
        run.bucket |= {key: value for key, value in said.items() if value is not None}
        if said.get("config"):
            run.config = json.loads(said["config"])
        bucket = {
            "id": "run",
            "name": name,
            "displayName": run.bucket.get("displayName"),
            "description": "",
            "config": json.dumps(run.config),
            "sweepName": None,
            "project": _project(said.get("project"), said.get("entity")),
            "historyLineCount": len(run.lines),
        }
        return {"bucket": bucket, "inserted": new}

    def _view(self, said: dict[str, Any]) -> dict[str, Any]:
        key = said.get("id")
        new = not key
        key = key or _identity("View", len(self.views) + 1)
        view = self.views.setdefault(key, {"id": key})
        view |= {name: value for name, value in said.items() if name != "id"}
        view |= {"project": _project(said.get("projectName"), said.get("entityName"))}
        view |= {"createdAt": "2026-01-01T00:00:00", "updatedAt": "2026-01-01T00:00:00"}
        return {"view": view, "inserted": new}

    def stream(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Take what a run's stream of files brings."""
        run = self.runs.setdefault(name, StubRun(name))
        for kind, part in body.get("files", {}).items():
            if kind == "wandb-history.jsonl":
                run.lines_received += len(part["content"])
                for place, line in enumerate(part["content"], part["offset"]):
                    run.lines[place] = line
            elif kind == "wandb-summary.json":
                run.summary = json.loads(part["content"][-1])
        if body.get("complete"):
            run.exit_code, run.ends = body.get("exitcode"), run.ends + 1
        elif body.get("files"):
            run.exit_code = None
        return {"exitcode": None, "limits": {}}


def client_environment(address: str, folder: Path) -> dict[str, str]:
    """Variables with which the client finds a server, and nothing of this machine's account."""
    return {
        "WANDB_BASE_URL": address,
        "WANDB_API_KEY": KEY,
        "WANDB_CONFIG_DIR": str(folder / "wandb-config"),
        "WANDB_CACHE_DIR": str(folder / "wandb-cache"),
        "WANDB_DATA_DIR": str(folder / "wandb-data"),
        "NETRC": str(folder / "netrc"),
        "HOME": str(folder),
    }


def dead_address() -> str:
    """An address of this machine at which nobody listens."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


# Of what describes a run; that the service has one for groups is a guess.
_LONGEST = {"jobType": 64, "tags": 64, "displayName": 128, "groupName": 128}
_OF_A_PROJECT = {"entityName": ENTITY, "createdAt": "2026-01-01T00:00:00", "isBenchmark": False}
_OF_A_PROJECT |= {"user": None}


def _identity(kind: str, number: int) -> str:
    """Return an id of the service's form, which the client reads out of addresses."""
    return base64.b64encode(f"{kind}:{number}".encode()).decode()


def _project(name: str | None, entity: str | None = None) -> dict[str, Any]:
    owner = {"id": "entity", "name": entity or ENTITY}
    return {"id": "project", "name": name or "uncategorized", "entity": owner, "entityName": ENTITY}


def _viewer() -> dict[str, Any]:
    return {
        "id": "user",
        "entity": ENTITY,
        "username": "stub-user",
        "name": "Stub User",
        "email": "stub@example.org",
        "flags": "{}",
        "admin": False,
        "deletedAt": None,
        "apiKeys": {"edges": []},
        "teams": {"edges": [{"node": {"id": "entity", "name": ENTITY}}]},
    }


class _Quiet(ThreadingHTTPServer):
    """Says nothing of clients that were killed in the middle of a request."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class _Answers(BaseHTTPRequestHandler):
    server_state: StubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        stub = self.server_state
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if stub.mode == "slow":
            time.sleep(stub.delay)
        with stub.lock:
            stub.requests.append((self.command, self.path))
            if stub.mode == "broken":
                self._send(500, {"error": "broken"})
                return
            try:
                self._send(200, self._found(stub, body))
            except Refused as refused:
                self._send(400, {"errors": [{"message": str(refused)}]})

    def _found(self, stub: StubServer, body: bytes) -> Any:
        if self.path.startswith("/graphql"):
            asked = json.loads(body)
            said = asked.get("variables") or {}
            found = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            name = asked.get("operationName") or (found[1] if found else "")
            stub.operations[name].append(said)
            data = stub.answer(name, said)
            if data is None:
                stub.unknown.append(asked)
            return {"data": data or {}}
        if found := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path):
            return stub.stream(found[1], json.loads(body))
        found = re.fullmatch(r"/storage/([^/]+)/(.+)", self.path)
        if found and self.command == "PUT":
            stub.runs.setdefault(found[1], StubRun(found[1])).files[found[2]] = body
        return {}

    def _send(self, code: int, value: Any) -> None:
        text = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = _serve  # noqa: N815
