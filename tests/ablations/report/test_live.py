"""The live page: real sockets on the loopback interface, pages that are made of nothing."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ablations.errors import RequestError
from ablations.frozen import thaw
from ablations.ledger import Ledger
from ablations.report import fresh
from ablations.report.fresh import LIVE
from ablations.report.live import Live, serve, state_of
from lightning_modules.files import write_json, write_text
from tests.ablations.made_up import CLEAR, finish, frozen

PAGE = '<!doctype html><html><head lang="en"><title>t</title></head><body>{}</body></html>'


@dataclass
class Study:
    """What a page is made from, here: a number, and what is wrong with it."""

    number: int = 0
    broken: Exception | None = None
    slow: threading.Event | None = None
    made: list[str] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    said: list[str] = field(default_factory=list)

    def make(self) -> str:
        number, self.threads = self.number, self.threads | {threading.get_ident()}
        if self.slow is not None:
            assert self.slow.wait(10)
        if self.broken is not None:
            raise self.broken
        self.made.append(threading.current_thread().name)
        return PAGE.format(number)

    def state(self) -> str:
        return str(self.number)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "SECONDS", 0.05)


@contextmanager
def served(study: Study) -> Iterator[int]:
    with Live(study.make, study.state, port=0, say=study.said.append) as live:
        thread = threading.Thread(target=live.run)
        thread.start()
        try:
            yield int(live.address.rstrip("/").rpartition(":")[2])
        finally:
            live.stop()
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server whose page is there, for tests that change nothing; it has nothing to say."""
    study = Study()
    with served(study) as number:
        until(lambda: ask(number).status == 200)
        yield number
    assert study.said == []


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str


def ask(
    port: int, path: str = "/", method: str = "GET", host: str | None = None, body: bytes = b""
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", f"127.0.0.1:{port}" if host is None else host)
        if body:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        found = connection.getresponse()
        return Answer(found.status, dict(found.getheaders()), found.read().decode())
    finally:
        connection.close()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_page_is_served_with_its_version(port: int) -> None:
    page, version = ask(port), ask(port, "/state")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    mark = f'<meta name="{LIVE}" content="{version.text}">'
    assert page.text == PAGE.format(0).replace('<head lang="en">', f'<head lang="en">{mark}')
    assert version.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_a_page_is_made_anew_only_where_the_state_has_changed_and_by_one_thread() -> None:
    study = Study()
    with served(study) as port:
        until(lambda: ask(port).status == 200)
        first = ask(port, "/state").text
        for _ in range(10):
            ask(port)
            time.sleep(0.02)
        assert len(study.made) == 1
        study.number = 1
        until(lambda: ask(port, "/state").text != first)
        assert ">1<" in ask(port).text
        assert len(study.made) == 2 and len(study.threads) == 1


def test_a_state_that_changes_back_and_forth_gives_the_same_version() -> None:
    study = Study()
    with served(study) as port:
        until(lambda: ask(port).status == 200)
        first = ask(port, "/state").text
        for number in (1, 0):
            study.number = number
            until(lambda: f">{number}<" in ask(port).text)  # noqa: B023
        assert ask(port, "/state").text == first


def test_nothing_is_looked_at_while_nobody_looks() -> None:
    study, looks = Study(), []
    with Live(study.make, lambda: looks.append(1) or "s", port=0, say=study.said.append):
        until(lambda: bool(study.made))
        time.sleep(0.3)
        assert len(looks) == 1


def test_looks_are_apart_however_often_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "SECONDS", 0.4)
    study, looks = Study(), []
    pages = fresh.Fresh(study.make, lambda: looks.append(1) or "s", study.said.append)
    with pages:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            pages.latest()
            time.sleep(0.01)
    assert len(looks) <= 3


def test_the_earlier_page_is_served_while_the_next_is_made() -> None:
    study = Study()
    with served(study) as port:
        until(lambda: ask(port).status == 200)
        study.slow, study.number = threading.Event(), 1
        ask(port)
        for _ in range(5):
            assert ">0<" in ask(port).text
            time.sleep(0.03)
        study.slow.set()
        until(lambda: ">1<" in ask(port).text)


def test_a_page_that_cannot_be_made_leaves_the_last_good_one_and_is_told_once() -> None:
    study = Study()
    with served(study) as port:
        until(lambda: ask(port).status == 200)
        study.broken, study.number = RequestError("status.json is damaged"), 1
        until(lambda: bool(study.said))
        for _ in range(10):
            assert ">0<" in ask(port).text
            time.sleep(0.02)
        study.broken = None
        until(lambda: ">1<" in ask(port).text)
    why = "status.json is damaged"
    assert study.said == [f"the page cannot be made; the page before stays: {why}"]


def test_before_any_page_there_is_one_that_says_why_and_asks_again() -> None:
    study = Study(broken=ValueError("<script>alert('x')</script> \udcff"))
    with served(study) as port:
        until(lambda: "cannot be made; there is no page yet" in "".join(study.said))
        found = ask(port)
        assert found.status == 503 and ask(port, "/state").status == 503
        assert "&lt;script&gt;" in found.text and "<script" not in found.text
        assert '<meta http-equiv="refresh" content="2">' in found.text
        study.broken = None
        until(lambda: ask(port).status == 200)


@pytest.mark.parametrize("path", ["/", "/state", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_every_answer_has_the_headers_that_keep_it_here(port: int, path: str, method: str) -> None:
    found = ask(port, path, method)
    assert found.headers["Cache-Control"] == "no-store"
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert found.headers["Referrer-Policy"] == "no-referrer"
    assert found.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert not any(name.lower().startswith("access-control") for name in found.headers)


def test_head_has_the_length_and_no_body(port: int) -> None:
    found, whole = ask(port, method="HEAD"), ask(port)
    assert (found.status, found.text) == (200, "")
    assert int(found.headers["Content-Length"]) == len(whole.text.encode())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/?again=1", 200),
        ("/state?now", 200),
        ("/index.html", 404),
        ("/../../etc/passwd", 404),
        ("/%2e%2e/x", 404),
        ("http://127.0.0.1/", 404),
    ],
)
def test_there_are_two_paths(port: int, path: str, status: int) -> None:
    assert ask(port, path).status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"])
def test_other_methods_are_refused(port: int, method: str) -> None:
    found = ask(port, method=method, body=b"a=1")
    assert (found.status, found.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:1234", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:80", 403),
        ("evil.example:localhost", 403),
        ("localhost:80@evil.example", 403),
        ("127.0.0.2", 403),
        ("0.0.0.0", 403),
        ("", 403),
    ],
)
@pytest.mark.parametrize("path", ["/", "/state", "/nothing"])
def test_only_this_machines_own_names_are_answered(
    port: int, host: str, status: int, path: str
) -> None:
    found = ask(port, path, host=host)
    assert found.status == (404 if status == 200 and path == "/nothing" else status)
    assert found.status == 200 or "<body>" not in found.text
    assert ask(port, path, "POST", host).status == (405 if status == 200 else 403)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"403"),  # no name at all
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", b"403"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", b"505"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431"),
    ],
)
def test_what_is_no_request_is_refused(port: int, request_: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request_)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.0 " + status), answer[:200]
    assert b"nosniff" in answer and b"evil" not in answer
    assert ask(port).status == 200


def test_it_listens_on_the_loopback_interface_alone() -> None:
    study = Study()
    with Live(study.make, study.state, port=0, say=study.said.append) as live:
        assert live._server.socket.getsockname()[0] == "127.0.0.1"


def test_silent_connections_keep_nobody_waiting() -> None:
    with served(Study()) as port:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        until(lambda: ask(port).status == 200)
        for one in silent:
            one.close()


def test_a_port_that_is_taken_is_refused_with_one_that_is_free() -> None:
    study = Study()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RequestError, match=rf"--port {port}: it is taken; (\d+) is free now"):
            serve(study.make, study.state, port=port, say=study.said.append)
    for wrong in (-1, 65536):
        with pytest.raises(RequestError, match=f"--port {wrong}: give a number from 0"):
            serve(study.make, study.state, port=wrong, say=study.said.append)
    assert not study.said and not study.made


def test_ctrl_c_ends_it_cleanly() -> None:
    code = (
        "import signal, time\nfrom ablations.report.live import serve\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's `&` ignores it
        "serve(lambda: time.sleep(60) or '', lambda: 's', port=0,\n"
        "      say=lambda text: print(text, flush=True))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline()
        assert address.startswith("http://127.0.0.1:")
        port = int(address.split("/")[2].partition(":")[2])
        assert ask(port).status == 503  # the first page takes a minute
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "ended\n", "")


def test_the_state_changes_with_a_run_a_curve_and_a_stage_and_with_nothing_else(
    tmp_path: Path,
) -> None:
    plan, ledger = frozen(tmp_path, seeds=2)
    seen = [state_of(plan, ledger)]

    def changed() -> bool:
        seen.append(state_of(plan, ledger))
        return seen[-1] not in seen[:-1]

    run = plan.runs[0]
    folder = ledger.begin(run.id, plan.layout.arm(run.arm).recipe, run.seed, plan.data, "7" * 20)
    assert changed()
    write_text(folder / "metrics.jsonl", "{}\n")
    assert changed()
    write_json(folder / "progress.json", {"step": 1})
    training = ledger.training_folder("7" * 20)
    training.mkdir(parents=True)
    write_text(training / "metrics.jsonl", "{}\n")
    assert changed()
    finish(ledger, plan, plan.runs, CLEAR)
    assert changed()
    write_json(ledger.study_folder("mine") / "stages.json",
               {"schema_version": 1, "looks": [], "choice": None})  # fmt: skip
    assert changed()
    (folder / "log.txt").write_text("something\n")
    (ledger.home / "studies" / "other").mkdir()
    assert state_of(plan, ledger) == seen[-1]
    thawed, _, _ = thaw(ledger.study_folder("mine"))
    assert state_of(thawed, Ledger(tmp_path)) == seen[-1]
