"""WebDataset shards: what is read, in which order, and what is said of broken ones."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_modules import ImageData
from lightning_modules.data import DataError, data_facts, data_fingerprint, open_source, parse_data
from lightning_modules.data.room import LIMIT, SHARDS
from lightning_modules.data.shard_names import shards_of
from lightning_modules.data.shelf import WINDOW
from lightning_modules.opened import Part
from lightning_modules.streams import permutation
from recipes import edit

Members = list[tuple[str, bytes]]


def png(level: int, side: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (level, level, level)).save(file, "png")
    return file.getvalue()


def write_tar(path: Path, members: Members) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return path


def samples(first: int, count: int) -> Members:
    """Images whose grey says which they are; classes in turn."""
    found: Members = []
    for number in range(first, first + count):
        key = f"{number:05d}"
        found += [(f"{key}.cls", str(number % 2).encode()), (f"{key}.png", png(number))]
    return found


def write_set(folder: Path, shards: int = 3, each: int = 6) -> Path:
    for shard in range(shards):
        write_tar(folder / f"train-{shard:03d}.tar", samples(shard * each, each))
    write_tar(folder / "val-000.tar", samples(200, 4))
    return folder


@contextlib.contextmanager
def serving(handler: Callable[..., SimpleHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str, list[str]]]:
    """Yield a folder, its address, and the paths that are asked for."""
    asked: list[str] = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    root = tmp_path / "served"
    with serving(partial(Quiet, directory=str(root))) as address:
        yield root, address, asked


def grey(items, i: int) -> int:
    return int(items.read(i)[0, 0, 0])


def test_a_folder_of_shards_is_read_at_any_place(tmp_path):
    spec = parse_data(f"wds:{write_set(tmp_path / 'set')}")
    source = open_source(spec, memory=tmp_path / "cache")
    assert source.classes == ("0", "1")
    assert len(source.train) == 18
    assert len(source.validation) == 4
    assert source.train.names[0] == "train/train-000.tar/00000"
    for i in (17, 0, 9):
        assert grey(source.train, i) == i
        assert source.train.labels[i] == i % 2
    assert grey(source.validation.take(np.array([3])), 0) == 203
    facts = data_facts(spec, tmp_path / "cache")
    assert (facts.classes, facts.train, facts.validation) == (2, 18, 4)
    assert facts.native_size == (8, 8)


def test_patterns_name_the_same_set(tmp_path):
    folder = write_set(tmp_path / "set", shards=12)
    whole = open_source(parse_data(f"wds:{folder}"))
    pattern = f"wds:{folder}/train-{{000..011}}.tar,{folder}/val-{{000,}}.tar".replace(",}", "}")
    with pytest.raises(DataError, match=r"write \{000..146\} or \{a,b\}"):
        open_source(parse_data(pattern))
    named = open_source(
        parse_data(f"wds:{folder}/train-{{000..005}}.tar,{folder}/val-000.tar".replace("5}", "11}"))
    )
    assert named.train.names == whole.train.names
    assert data_fingerprint(named, None) == data_fingerprint(whole, None)
    halves = shards_of("a/{x,y}-{8..10}.tar,b.tar")
    assert halves == ([f"a/{a}-{n}.tar" for a in "xy" for n in (8, 9, 10)], ["b.tar"])


def test_the_same_shards_divided_in_another_way_are_another_set(tmp_path):
    """As for cross-validation: neither the fingerprint nor the memory may take one for another."""
    for number in range(3):
        write_tar(tmp_path / f"{number}.tar", samples(10 * number, 4))
        os.utime(tmp_path / f"{number}.tar", (1e9, 1e9))  # old enough to be remembered
    folds = [("{0,1}", "2"), ("{1,2}", "0"), ("2", "{0,1}")]
    words = [f"wds:{tmp_path}/{a}.tar,{tmp_path}/{b}.tar" for a, b in folds]
    facts = [data_facts(parse_data(each), tmp_path / "cache") for each in words]
    assert [(one.train, one.validation) for one in facts] == [(8, 4), (8, 4), (4, 8)]
    assert len({one.fingerprint for one in facts}) == 3


def test_labels_may_be_names_or_stand_in_json(tmp_path):
    rows = [("cat", 1), ("dog", 2), ("cat", 3)]
    members = [(f"{n}.json", json.dumps({"label": name, "text": "x"}).encode()) for name, n in rows]
    members += [(f"{n}.seg.txt", b"ignored") for _, n in rows]
    members += [(f"{n}.png", png(n)) for _, n in rows]
    write_tar(tmp_path / "train.tar", members)
    write_tar(
        tmp_path / "test.tar", [("a/9.jpg.cls", b"no"), ("a/9.cls", b"dog"), ("a/9.png", png(9))]
    )
    source = open_source(parse_data(f"wds:{tmp_path}"))
    assert source.classes == ("cat", "dog")
    assert source.train.labels.tolist() == [0, 1, 0]
    assert source.validation.names == ("val/test.tar/a/9",)


def test_an_index_is_remembered_until_its_shard_changes(tmp_path, monkeypatch):
    folder = write_set(tmp_path / "set")
    for path in folder.iterdir():
        os.utime(path, (1e9, 1e9))  # what is younger than a clock's tick is not trusted
    open_source(parse_data(f"wds:{folder}"), memory=tmp_path / "cache")
    reads: list[str] = []
    from lightning_modules.data import shard_index

    read = shard_index.read_index
    monkeypatch.setattr(
        shard_index, "read_index", lambda stream, name: reads.append(name) or read(stream, name)
    )
    open_source(parse_data(f"wds:{folder}"), memory=tmp_path / "cache")
    assert reads == []
    write_tar(folder / "train-001.tar", samples(50, 6))
    source = open_source(parse_data(f"wds:{folder}"), memory=tmp_path / "cache")
    assert [Path(name).name for name in reads] == ["train-001.tar"]
    assert grey(source.train, 6) == 50


def test_few_shards_are_mixed_as_any_set_and_many_by_windows(tmp_path):
    few = open_source(parse_data(f"wds:{write_set(tmp_path / 'few')}")).train
    part = Part(few, np.arange(len(few)), None)
    assert np.array_equal(part.order(5, 1), permutation(5, "order", 1, len(few)))
    many = open_source(parse_data(f"wds:{write_set(tmp_path / 'many', WINDOW + 9, 2)}")).train
    index = np.arange(1, len(many))  # a part without its first image
    part = Part(many, index, None)
    seen = []
    for epoch in (0, 1):
        order = part.order(5, epoch)
        assert sorted(order) == list(range(len(index)))
        shards = [many.shard[index[place]] for place in order]
        cut = next(k for k in range(len(shards) + 1) if len({*shards[: k + 1]}) > WINDOW)
        assert not {*shards[:cut]} & {*shards[cut:]}
        assert np.array_equal(order, part.order(5, epoch))
        seen.append({*shards[:cut]})
    assert seen[0] != seen[1]


def test_shards_at_addresses_are_the_same_set_and_fetched_once(tmp_path, served):
    root, address, asked = served
    write_set(root)
    local = open_source(parse_data(f"wds:{root}"))
    spec = parse_data(f"wds:{address}/train-{{000..002}}.tar,{address}/val-000.tar")
    source = open_source(spec, memory=tmp_path / "cache")
    assert data_fingerprint(source, None) == data_fingerprint(local, None)
    assert source.train.names == local.train.names
    assert source.train.native_size() == (8, 8)
    assert len(asked) == 4
    assert [grey(source.train, i) for i in range(18)] == list(range(18))
    assert len(asked) == 7  # the three of training; an index is not the shard
    again = open_source(spec, memory=tmp_path / "cache")
    assert [grey(again.train, i) for i in (17, 3)] == [17, 3]
    assert len(asked) == 7


def test_parts_in_folders_of_their_own_are_the_same_set_at_addresses(tmp_path, served):
    root, address, _ = served
    write_tar(root / "a/train/0.tar", samples(0, 4))
    write_tar(root / "a/val/0.tar", samples(9, 2))
    found = [
        open_source(parse_data(f"wds:{place}/train/0.tar,{place}/val/0.tar"), memory=tmp_path / "c")
        for place in (root / "a", f"{address}/a")
    ]
    assert found[0].train.names == found[1].train.names
    assert data_fingerprint(found[0], None) == data_fingerprint(found[1], None)


def test_more_than_the_cache_holds_is_fetched_as_it_is_needed(tmp_path, served, monkeypatch):
    root, address, asked = served
    shards = 3 * WINDOW
    write_set(root, shards, 2)
    size = (root / "train-000.tar").stat().st_size
    monkeypatch.setenv(LIMIT, str((2 * WINDOW + 3) * size / 2**30))
    spec = parse_data(f"wds:{address}/train-{{000..{shards - 1:03d}}}.tar,{address}/val-000.tar")
    items = open_source(spec, memory=tmp_path / "cache").train
    part = Part(items, np.arange(len(items)), None)
    del asked[:]
    for epoch in (0, 1):
        seen = [grey(items, int(i)) for i in part.order(0, epoch)]
        assert sorted(seen) == list(range(2 * shards))
        kept = list((tmp_path / "cache" / SHARDS).iterdir())
        assert len(kept) <= 2 * WINDOW + 3 + 3  # four are fetched at once, each having seen room
    assert shards < len(asked) < 2 * shards  # what was still there was not fetched again


def test_threads_that_read_far_apart_do_not_take_shards_from_each_other(tmp_path, served):
    root, address, _ = served
    write_set(root, 40, 2)
    spec = parse_data(f"wds:{address}/train-{{000..039}}.tar,{address}/val-000.tar")
    items = open_source(spec, memory=tmp_path / "cache").train
    with ThreadPoolExecutor(8) as pool:  # each jumps over windows
        found = list(pool.map(partial(grey, items), [*range(0, 80, 7), *range(79, -1, -5)] * 3))
    assert found == [*range(0, 80, 7), *range(79, -1, -5)] * 3


def test_a_transfer_that_breaks_off_between_two_samples_is_tried_again(tmp_path):
    whole = write_tar(tmp_path / "one.tar", samples(0, 4)).read_bytes()
    asked: list[str] = []

    class Server(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            first = asked.count(self.path) == 1
            self.wfile.write(whole[: 4 * 1024] if first else whole)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Server) as address:
        spec = parse_data(f"wds:{address}/train.tar,{address}/val.tar")
        source = open_source(spec, memory=tmp_path / "cache")
    assert len(source.train) == len(source.validation) == 4
    assert len(asked) == 4


@pytest.mark.parametrize("stored", [0, 8])
def test_a_run_is_fed_the_same_from_the_disk_and_from_addresses(tmp_path, served, tiny, stored):
    root, address, _ = served
    write_set(root, WINDOW + 4, 3)
    changes = {"data.dataset": "wds", "data.stored_size": stored, "data.resolution": 8}
    changes |= {"data.batch_size": 4, "data.minival_fraction": 0.2, "data.train_fraction": 1.0}
    recipe = edit(tiny, changes)
    seen = []
    for place in (f"{root}", f"{address}/train-{{000..019}}.tar,{address}/val-000.tar"):
        spec = parse_data(f"wds:{place}")
        data = ImageData(recipe, folder=spec.settled, cache=tmp_path / str(len(seen)), seed=2)
        data.setup()
        batches = [*data.train_dataloader(), *data.val_dataloader(), *data.test_dataloader()]
        assert len(batches) == data.steps_per_epoch + 2
        seen.append([(data.prepare(each, 0).images, each.targets) for each in batches])
    for (images, targets), (others, theirs) in zip(*seen, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(targets, theirs)


def test_a_changed_or_broken_shard_at_an_address_is_told(tmp_path, served):
    root, address, _ = served
    write_set(root, 1)
    spec = parse_data(f"wds:{address}/train-000.tar,{address}/val-000.tar")
    source = open_source(spec, memory=tmp_path / "cache")
    write_tar(root / "train-000.tar", samples(90, 6))
    with pytest.raises(DataError, match="is not what was indexed: it was changed"):
        source.train.read(0)
    with pytest.raises(DataError, match="was refused: 404"):
        open_source(parse_data(f"wds:{address}/none.tar,{address}/val-000.tar"))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("1.png", png(1))], r"the sample '1' has no label; 1.cls, or 1.json"),
        ([("1.png", png(1)), ("1.jpg", png(1)), ("1.cls", b"0")], "two images of the sample '1'"),
        ([("1.png", png(1)), ("1.cls", b"-1")], r"holds '-1': a class's number from 0 on"),
        ([("1.png", png(1)), ("1.cls", b"\xff")], "1.cls is no label"),
        ([("1.png", png(1)), ("1.cls", b"1" * 5000)], "1.cls is no label"),
        ([("1.png", png(1)), ("1.cls", b"a\0b")], r"holds 'a.x00b': a class's number"),
        ([("1.png", png(1)), ("1.json", b"[" * 200_000)], "1.json is no label"),
        ([("1.png", png(1)), ("1.json", b'{"label": "\\ud800"}')], "1.json is no label"),
        ([("1.txt", b"x")], r"\(train\) holds no image with a label"),
        ([("1.png", png(1)), ("1.cls", b"2")], "have no image of the class 0, 1"),
        ([("1.png", png(1)), ("1.cls", b"0"), ("2.png", b"x")], "the sample '2' has no label"),
        ([("1.png", png(1)), ("1.cls", b"cat")], r"has numbers \(0, 1\) and names \(cat\)"),
        ([("1.png", png(1)), ("1.cls", b"99999999999")], "has a class 99999999999, and 3 images"),
    ],
)
def test_what_is_wrong_with_a_sample_is_told(tmp_path, members: Members, message: str):
    write_tar(tmp_path / "train.tar", members)
    write_tar(tmp_path / "val.tar", samples(0, 2))
    with pytest.raises(DataError, match=message):
        open_source(parse_data(f"wds:{tmp_path}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wds:", "lacks its folder; write wds:DIR or wds:TRAIN,VAL"),
        ("wds:{folder}/none", "does not exist"),
        ("wds:{folder}/train.tar", "names 1 sets of shards"),
        ("wds:http://[::1/a.tar,b.tar", "has a host or a port that cannot be"),
        ("wds:{folder}", "needs tar files with train and with one of val"),
        ("wds:{folder}/a.tar,{folder}/b.tar", "the shard .*a.tar is not there"),
        ("wds:{folder}/a.tar,{folder}/a.tar", "would be trained on and evaluated"),
        ("wds:a.tar,b.tar,c.tar", "names 3 sets of shards"),
        ("wds:a-{0..}.tar,b.tar", r"\{0\.\.\} in .*: write \{000..146\} or \{a,b\}"),
        ("wds:a-{9..1}.tar,b.tar", r"counts -7 shards"),
        ("wds:s3://bucket/a.tar,b.tar", "s3:// cannot be read; give http:// or https://"),
        ("wds:https://me:secret@host/a.tar,b.tar", "the address at host holds a name, a password"),
        ("wds:https://host/a.tar?token=secret,b.tar", "the address at host holds"),
        ("wds:https://me:secret/a.tar,b.tar", "a host or a port that cannot be"),
        ("wds:https://host/\u00e4.tar,b.tar", "spaces or letters beyond ASCII; write them as %20"),
    ],
)
def test_what_is_wrong_with_the_words_is_told(tmp_path, text: str, message: str):
    with pytest.raises(DataError, match=message) as told:
        open_source(parse_data(text.replace("{folder}", str(tmp_path))))
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("cut", [700, 5000, 4096, 4196])  # the last at and in a header
def test_a_cut_shard_is_told(tmp_path, cut: int):
    folder = write_set(tmp_path / "set", 1)
    whole = (folder / "train-000.tar").read_bytes()
    (folder / "train-000.tar").write_bytes(whole[:cut])
    with pytest.raises(DataError, match="train-000.tar is no whole tar file"):
        open_source(parse_data(f"wds:{folder}"))


def test_a_secret_is_sent_to_the_host_alone_and_kept_nowhere(tmp_path, monkeypatch):
    seen: list[tuple[str, str | None]] = []
    whole = write_tar(tmp_path / "one.tar", samples(0, 2)).read_bytes()

    class Server(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("Authorization")))
            if self.path == "/moved.tar":
                self.send_response(302)
                self.send_header("Location", "/elsewhere.tar")
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(whole)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("ABLATE_AUTHORIZATION", "Bearer secret")
    with serving(Server) as address:
        spec = parse_data(f"wds:{address}/moved.tar,{address}/val.tar")
        source = open_source(spec, memory=tmp_path / "cache")
    assert len(source.train) == 2
    assert dict(seen) == {
        "/moved.tar": "Bearer secret",
        "/elsewhere.tar": None,
        "/val.tar": "Bearer secret",
    }
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"Bearer" not in kept
