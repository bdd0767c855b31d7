"""`ablate report STUDY --watch`: the page of a study on this machine, while its runs are made.

A server on the loopback interface that only reads. It answers what is asked by that name alone, so
that no other site can have a browser read the page for it, and writes no log of who looked.
"""

from __future__ import annotations

import errno
import html
import re
import socket
import socketserver
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ablations.errors import RequestError
from ablations.report.fresh import Fresh, state_of

__all__ = ["Live", "serve", "state_of"]

_HOST = "127.0.0.1"
_OURS = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_FIRST = 3.0  # seconds for the first page, before anybody is sent to it
_PATIENCE = 10.0  # seconds for which a silent connection is kept
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Of a page's two policies both hold, so this one says only what a <meta> cannot.
    "Content-Security-Policy": "frame-ancestors 'none'",
}
_TEXT = "text/plain; charset=utf-8"
_WAITING = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="2">
<meta name="color-scheme" content="light dark">
<title>No page yet</title>
</head>
<body>
<h1>No page yet</h1>
<p>{}</p>
</body>
</html>
"""


def serve(
    make: Callable[[], str], state: Callable[[], str], *, port: int, say: Callable[[str], None]
) -> None:
    """Serve a page on this machine alone until Ctrl-C.

    Args:
        make: returns the page as HTML. Called in a thread, by one at a time.
        state: returns a digest of all that the page is made from; cheap.
        port: to listen on; 0: any that is free.
        say: tells whoever started it where the page is, and what goes wrong.

    Raises:
        RequestError: the port is taken, or cannot be had.
    """
    with Live(make, state, port=port, say=say) as live:
        live.pages.wait(_FIRST)
        say(f"{live.address} (read-only, for this machine; Ctrl-C ends it)")
        live.run()


class Live:
    """The server of a page; use as a context."""

    def __init__(
        self,
        make: Callable[[], str],
        state: Callable[[], str],
        *,
        port: int,
        say: Callable[[str], None],
    ) -> None:
        self.say, self.pages = say, Fresh(make, state, say)
        self._server = _opened(port, self)

    @property
    def address(self) -> str:
        """Return where the page is."""
        return f"http://{_HOST}:{self._server.server_address[1]}/"

    def __enter__(self) -> Live:
        """Begin to make the page."""
        self.pages.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()
        self.pages.__exit__()

    def run(self) -> None:
        """Answer requests until Ctrl-C, or until `stop` from another thread."""
        try:
            self._server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            self.say("ended")

    def stop(self) -> None:
        """Let `run` return."""
        self._server.shutdown()


class _Server(ThreadingHTTPServer):
    """Listens on the loopback interface, and looks up no names to do so."""

    daemon_threads = True
    request_queue_size = 64  # a browser opens several at once, and the sixth would wait a second
    live: Live

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = _HOST, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, unless a browser left in the middle of an answer."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            self.live.say(f"a request was not answered: {error!r}")


def _opened(port: int, live: Live) -> _Server:
    if not 0 <= port <= 65535:
        raise RequestError(f"--port {port}: give a number from 0 (any that is free) to 65535")
    try:
        server = _Server((_HOST, port), _Answer)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "it is taken" if taken else str(error.strerror).lower()
        raise RequestError(
            f"--port {port}: {reason}; {_free()} is free now, and 0 takes any that is"
        ) from None
    server.live = live
    return server


def _free() -> int:
    with socket.create_server((_HOST, 0)) as found:
        port: int = found.getsockname()[1]
        return port


class _Answer(BaseHTTPRequestHandler):
    """One request: the page, its version, or a refusal."""

    server: _Server
    timeout = _PATIENCE
    default_request_version = "HTTP/1.0"  # so that refusals of what is no request have headers

    def version_string(self) -> str:
        """Name the program, not its versions."""
        return "ablate"

    def do_GET(self) -> None:
        """Answer with the page, or with its version."""
        if not self._is_ours():
            # A page of another site, whose name was made to lead here, must not read this one.
            self._answer(HTTPStatus.FORBIDDEN, "this is for localhost only\n")
            return
        path = self.path.partition("?")[0]
        if path not in ("/", "/state"):
            self._answer(HTTPStatus.NOT_FOUND, "there is / and /state\n")
            return
        page, problem = self.server.live.pages.latest()
        if path == "/state":
            status = HTTPStatus.OK if page else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, page.version if page else "")
        elif page is not None:
            self._answer(HTTPStatus.OK, page.content, "text/html; charset=utf-8")
        else:
            text = _WAITING.format(html.escape(problem))
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, text, "text/html; charset=utf-8")

    do_HEAD = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request, and every method but GET and HEAD."""
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            ours = self._is_ours()
            status = HTTPStatus.METHOD_NOT_ALLOWED if ours else HTTPStatus.FORBIDDEN
        self.close_connection = True
        self._answer(status, f"{status.phrase.lower()}\n")

    def _is_ours(self) -> bool:
        hosts = self.headers.get_all("Host", []) if hasattr(self, "headers") else []
        return len(hosts) == 1 and _OURS.fullmatch(hosts[0].strip()) is not None

    def _answer(self, status: HTTPStatus, content: str | bytes, kind: str = _TEXT) -> None:
        data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep no log of who looked."""
