"""Shards within reach: what is held open, and what several threads and a bad connection do."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lightning_modules.data import open_source, parse_data, shelf
from lightning_modules.data.shelf import Shelf
from tests.lightning_modules.data.test_shards import samples, write_tar


class Server(ThreadingHTTPServer):
    """Serves bytes by path, slowly; may break one answer off."""

    contents: dict[str, bytes]
    seconds = 0.0
    cut: int | None = None


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        time.sleep(self.server.seconds)
        content = self.server.contents[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        cut, self.server.cut = self.server.cut, None
        self.wfile.write(content[:cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Answer)
    made.contents = {}
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def test_files_keep_their_times_and_are_not_all_held_open(tmp_path):
    paths = [tmp_path / f"{k}.tar" for k in range(100)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]))
        os.utime(path, (1e9, 1e9))  # by which it is known that nothing has changed
    shards = Shelf([str(path) for path in paths], [(1, b"")] * 100, None)
    before = len(os.listdir("/dev/fd"))
    for turn in (range(100), reversed(range(100))):
        assert all(shards.read(k, 0, 1) == bytes([k]) for k in turn)
    assert len(os.listdir("/dev/fd")) - before <= 64
    assert {path.stat().st_mtime for path in paths} == {1e9}


def test_no_thread_loses_the_shard_that_it_waits_for(tmp_path, server):
    """As when many threads decode an evaluation, whose shards lie in windows that are over."""
    server.contents = {f"/{k}": bytes([k]) * 9 for k in range(48)}
    server.seconds = 0.02
    address = f"http://127.0.0.1:{server.server_port}"
    known = [(9, hashlib.sha256(content).digest()) for content in server.contents.values()]
    shards = Shelf([f"{address}/{k}" for k in range(48)], known, tmp_path)
    assert shards.read(47, 0, 1) == bytes([47])
    with ThreadPoolExecutor(16) as threads:
        read = [threads.submit(shards.read, k, 4, 2) for k in range(30)]
        assert [one.result() for one in read] == [bytes([k]) * 2 for k in range(30)]


def test_a_connection_that_ends_early_is_tried_again_and_never_a_shorter_shard(
    tmp_path: Path, server, monkeypatch
):
    monkeypatch.setattr(shelf, "_PAUSE", 0.0)
    whole = write_tar(tmp_path / "a.tar", samples(0, 6)).read_bytes()
    server.contents = {f"/{name}.tar": whole for name in ("train", "val")}
    address = f"http://127.0.0.1:{server.server_port}"
    for cut in (4096, 4196, 5000):  # before a header, in it, in an image
        server.cut = cut
        source = open_source(parse_data(f"wds:{address}/train.tar,{address}/val.tar"))
        assert (len(source.train), len(source.validation)) == (6, 6)
        assert server.cut is None
