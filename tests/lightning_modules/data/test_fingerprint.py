"""The identity of a data set follows its content, and is remembered."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_modules.data import (
    DataError,
    DataSpec,
    data_facts,
    data_fingerprint,
    open_source,
    parse_data,
    remembered_fingerprint,
)

OLD = 10**18  # ns: an mtime that is no longer young


@pytest.fixture
def spec(tmp_path: Path) -> DataSpec:
    """Two classes of two images in each part, written long ago."""
    root = tmp_path / "data"
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for name in "ab":
            for i in range(2):
                path = root / part / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(path)
                os.utime(path, ns=(OLD, OLD))
    return DataSpec("imagefolder", root)


def fingerprint(spec: DataSpec, memory: Path | None = None) -> str:
    return data_fingerprint(open_source(spec), memory)


def rewrite(path: Path, change_time: bool) -> None:
    """Change one byte."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(OLD, OLD + 5 if change_time else OLD))


def test_it_is_a_hash_of_names_sizes_and_contents(spec: DataSpec) -> None:
    assert spec.folder is not None
    lines = []
    for path in sorted(spec.folder.rglob("*.png"), key=lambda p: p.as_posix()):
        content = path.read_bytes()
        name = path.relative_to(spec.folder).as_posix()
        lines.append(f"{name}\t{len(content)}\t{hashlib.sha256(content).hexdigest()}\n")
    assert fingerprint(spec) == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_a_moved_folder_and_new_times_leave_it_alone(spec: DataSpec, tmp_path: Path) -> None:
    assert spec.folder is not None
    memory = tmp_path / "memory"
    before = fingerprint(spec, memory)
    os.utime(spec.folder / "train/a/0.png", ns=(OLD, OLD + 10**9))
    assert fingerprint(spec, memory) == before == fingerprint(spec)
    moved = DataSpec("imagefolder", tmp_path / "elsewhere" / "data")
    shutil.move(spec.folder, moved.folder)
    assert fingerprint(moved, memory) == before
    assert remembered_fingerprint(moved, memory) == before


def test_every_kind_of_change_changes_it(spec: DataSpec) -> None:
    assert spec.folder is not None
    seen = {fingerprint(spec)}
    image = spec.folder / "train/a/0.png"
    rewrite(image, change_time=True)
    seen.add(fingerprint(spec))
    image.rename(image.with_name("9.png"))
    seen.add(fingerprint(spec))
    shutil.copy(image.with_name("9.png"), image)
    seen.add(fingerprint(spec))
    shutil.move(image, spec.folder / "train/b/x.png")
    seen.add(fingerprint(spec))
    assert len(seen) == 5


def test_other_files_do_not_matter(spec: DataSpec) -> None:
    assert spec.folder is not None
    before = fingerprint(spec)
    (spec.folder / "README.txt").write_text("hello")
    (spec.folder / "train" / "a" / "list.csv").write_text("hello")
    assert fingerprint(spec) == before


def test_a_second_look_reads_no_content(spec: DataSpec, tmp_path: Path) -> None:
    """Content changed behind an unchanged size and time is not seen: it was not read."""
    assert spec.folder is not None
    memory = tmp_path / "memory"
    assert remembered_fingerprint(spec, memory) is None
    before, facts = fingerprint(spec, memory), data_facts(spec, memory)
    rewrite(spec.folder / "train/a/0.png", change_time=False)
    assert fingerprint(spec, memory) == remembered_fingerprint(spec, memory) == before
    assert data_facts(spec, memory) == facts
    assert fingerprint(spec) != before


def test_one_changed_file_is_the_only_one_read_again(spec: DataSpec, tmp_path: Path) -> None:
    assert spec.folder is not None
    memory = tmp_path / "memory"
    before = fingerprint(spec, memory)
    rewrite(spec.folder / "train/a/0.png", change_time=False)
    os.utime(spec.folder / "train/b/0.png", ns=(OLD, OLD + 9))
    assert remembered_fingerprint(spec, memory) is None
    assert fingerprint(spec, memory) == before
    rewrite(spec.folder / "train/b/0.png", change_time=True)
    assert fingerprint(spec, memory) != before


def test_a_young_file_is_not_trusted(spec: DataSpec, tmp_path: Path) -> None:
    """Within one tick of the clock a file can change twice and keep its time."""
    assert spec.folder is not None
    memory, image = tmp_path / "memory", spec.folder / "train/a/0.png"
    os.utime(image)
    young = image.stat()
    before = fingerprint(spec, memory)
    assert remembered_fingerprint(spec, memory) is None
    rewrite(image, change_time=False)
    os.utime(image, ns=(young.st_atime_ns, young.st_mtime_ns))
    assert fingerprint(spec, memory) != before


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"schema_version": 99}'])
def test_a_damaged_memory_is_made_anew(damage: bytes, spec: DataSpec, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    before = data_facts(spec, memory)
    for path in memory.iterdir():
        path.write_bytes(damage)
    assert data_facts(spec, memory) == before
    assert remembered_fingerprint(spec, memory) == before.fingerprint
    assert not [path for path in memory.iterdir() if path.name.startswith(".")]


def test_facts(spec: DataSpec, tmp_path: Path) -> None:
    assert spec.folder is not None
    memory = tmp_path / "memory"
    for where in (None, memory, memory):
        facts = data_facts(spec, where)
        assert (facts.name, facts.classes, facts.train, facts.validation) == (
            "imagefolder",
            2,
            4,
            4,
        )
        assert facts.native_size == (6, 5) and facts.fingerprint == fingerprint(spec)
    other = spec.folder / "val/b/other.png"
    Image.new("RGB", (9, 9)).save(other)
    assert data_facts(spec, memory).native_size is None
    assert data_facts(spec, memory).validation == 5


def test_skipped_images_are_part_of_the_identity(spec: DataSpec, tmp_path: Path) -> None:
    assert spec.folder is not None
    memory = tmp_path / "memory"
    assert data_facts(spec, memory, skip_corrupt=True) == data_facts(spec, memory)
    (spec.folder / "val/a/bad.png").write_bytes(b"no image")
    os.utime(spec.folder / "val/a/bad.png", ns=(OLD, OLD))
    whole = data_facts(spec, memory)
    for where in (None, memory, memory):
        skipped = data_facts(spec, where, skip_corrupt=True)
        assert skipped.skipped == ("val/a/bad.png",) and skipped.validation == whole.validation - 1
        assert skipped.fingerprint not in (whole.fingerprint, "")
        source = open_source(spec, skip_corrupt=True, memory=where)
        assert data_fingerprint(source, where) == skipped.fingerprint
    assert data_facts(spec, memory) == whole


def test_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = parse_data("digits")
    facts = data_facts(digits, tmp_path)
    assert (facts.classes, facts.train + facts.validation, facts.native_size) == (10, 1797, (8, 8))
    assert facts == data_facts(digits, tmp_path) == data_facts(digits, None)
    assert remembered_fingerprint(digits, tmp_path) == facts.fingerprint

    from lightning_modules.data import digits as module

    monkeypatch.setattr(module, "_FILE", "renamed.csv.gz")
    assert remembered_fingerprint(digits, tmp_path) is None
    assert len(data_facts(digits, tmp_path).fingerprint) == 64


def test_a_file_that_vanishes_is_named(spec: DataSpec) -> None:
    assert spec.folder is not None
    source = open_source(spec)
    (spec.folder / "train/a/0.png").unlink()
    with pytest.raises(DataError, match=r"train/a/0.png cannot be read: No such file"):
        data_fingerprint(source, None)
    with pytest.raises(DataError, match=r"train/a/0.png cannot be read: No such file"):
        source.train.read(0)
