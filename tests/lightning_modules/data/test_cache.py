"""Decode once: what the cache holds, and what happens when something goes wrong."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_modules.data import (
    ArrayItems,
    DataError,
    FileItems,
    cache_key,
    central_square,
    open_cache,
    open_source,
    parse_data,
    read_crop,
)

RNG = np.random.default_rng(0)


def array_items(count: int, height: int, width: int) -> ArrayItems:
    pixels = RNG.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    names = tuple(f"{i:04d}" for i in range(count))
    return ArrayItems(names, np.zeros(count, dtype=np.int64), pixels)


def file_items(folder: Path, count: int) -> FileItems:
    folder.mkdir(parents=True, exist_ok=True)
    names = tuple(f"{i:04d}.jpg" for i in range(count))
    for i, name in enumerate(names):
        noise = RNG.integers(0, 256, (24, 20 + i % 9, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)
    return FileItems(names, np.zeros(count, dtype=np.int64), folder)


def test_images_of_the_stored_size_are_stored_as_they_are(tmp_path: Path) -> None:
    source = open_source(parse_data("digits"))
    cache = open_cache(source.train, 8, tmp_path, "digits")
    assert isinstance(cache, np.memmap) and not cache.flags.writeable
    assert cache.shape == (len(source.train), 3, 8, 8) and cache.dtype == np.uint8
    for i in (0, 500, len(source.train) - 1):
        np.testing.assert_array_equal(cache[i].transpose(1, 2, 0), source.train.read(i))


@pytest.mark.parametrize(("height", "width"), [(40, 31), (31, 40), (9, 50), (17, 17), (16, 40)])
def test_other_images_are_resized_and_cropped_as_torchvision_does(height: int, width: int) -> None:
    from torchvision.transforms import CenterCrop, InterpolationMode, Resize

    (image,) = array_items(1, height, width).pixels
    resized = Resize(16, InterpolationMode.BICUBIC)(Image.fromarray(image))
    expected = np.asarray(CenterCrop(16)(resized)).transpose(2, 0, 1)
    np.testing.assert_array_equal(central_square(image, 16), expected)


@pytest.mark.parametrize("threads", [1, 3])
def test_files_are_cached_in_order(threads: int, tmp_path: Path) -> None:
    items = file_items(tmp_path / "images", 200)
    seen: list[tuple[int, int]] = []
    cache = open_cache(
        items, 12, tmp_path / "c", "k", threads=threads, progress=lambda *at: seen.append(at)
    )
    for i in range(0, 200, 23):
        np.testing.assert_array_equal(cache[i], central_square(items.read(i), 12))
    assert seen == [(64, 200), (128, 200), (192, 200), (200, 200)]


def test_the_key_tells_set_part_and_size() -> None:
    keys = {cache_key(f, p, s) for f in ("a" * 64, "b" * 64) for p in ("x", "y") for s in (8, 16)}
    assert len(keys) == 8


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def _flip_a_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(500)
        byte = file.read(1)
        file.seek(500)
        file.write(bytes([byte[0] ^ 255]))


def _other_description(path: Path) -> None:
    about = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**about, "shape": [1, 2, 3]}))


def _broken_description(path: Path) -> None:
    path.with_suffix(".json").write_text('{"key": ')


def _list_as_description(path: Path) -> None:
    path.with_suffix(".json").write_text("[]")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_truncate, "damaged or not complete (its bytes, crc32"),
        (_flip_a_byte, "damaged or not complete (its crc32"),
        (_other_description, "damaged or not complete (its shape"),
        (_broken_description, "unreadable description"),
        (_list_as_description, "unreadable description"),
    ],
)
def test_a_damaged_cache_is_built_again(
    damage: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    items = array_items(10, 12, 12)
    before = np.array(open_cache(items, 12, tmp_path, "k"))
    (path,) = tmp_path.glob("*.npy")
    damage(path)
    notes: list[str] = []
    np.testing.assert_array_equal(open_cache(items, 12, tmp_path, "k", note=notes.append), before)
    assert len(notes) == 1 and words in notes[0] and "built again" in notes[0]
    open_cache(items, 12, tmp_path, "k", note=notes.append)
    assert len(notes) == 1


@pytest.mark.parametrize("left", ["*.npy", "*.json"])
def test_an_unfinished_cache_is_built_again_without_ado(left: str, tmp_path: Path) -> None:
    items = array_items(10, 12, 12)
    open_cache(items, 12, tmp_path, "k")
    (path,) = tmp_path.glob("*.npy")
    for gone in {*tmp_path.glob("k.*")} - {*tmp_path.glob(left)}:
        gone.unlink()
    aside = tmp_path / f".{path.name}.12345.1"
    aside.write_bytes(b"left by a run that was killed")
    notes: list[str] = []
    assert len(open_cache(items, 12, tmp_path, "k", note=notes.append)) == 10
    assert not notes and not aside.exists()


def test_an_existing_cache_is_not_decoded_again(tmp_path: Path) -> None:
    items = file_items(tmp_path / "images", 3)
    first = np.array(open_cache(items, 8, tmp_path, "k"))
    for name in items.names:
        (items.folder / name).unlink()
    np.testing.assert_array_equal(open_cache(items, 8, tmp_path, "k"), first)


def test_all_corrupt_files_are_named_together(tmp_path: Path) -> None:
    items = file_items(tmp_path / "images", 30)
    for i in range(10, 17):
        path = items.folder / items.names[i]
        path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"^7 of 30 images .*0010.jpg .* and 2 more.*--skip-c"):
        open_cache(items, 8, tmp_path / "c", "k", threads=2)
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["k.v1.lock", "room.lock"]


def test_an_impossible_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="size 0 is impossible"):
        open_cache(array_items(2, 4, 4), 0, tmp_path, "k")


def test_a_full_disk_is_told_clearly(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: both fail while writing."""
    code = (
        "import sys; from pathlib import Path; from resource import *;"
        "from lightning_modules.data import *; setrlimit(RLIMIT_FSIZE, (9000, 9000));"
        "items = open_source(parse_data('digits')).train\n"
        "try: open_cache(items, 8, Path(sys.argv[1]), 'k')\n"
        "except DataError as error: print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert "can be written there. Free some space, choose another --home" in done.stdout, done
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k.v1.lock", "room.lock"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 9000


def _build(folder: str, images: str, barrier: object, answers: object) -> None:
    names = tuple(sorted(path.name for path in Path(images).iterdir()))
    items = FileItems(names, np.zeros(len(names), dtype=np.int64), Path(images))
    notes: list[str] = []
    built: list[int] = []
    barrier.wait()  # type: ignore[attr-defined]
    cache = open_cache(
        items, 16, Path(folder), "k", note=notes.append, progress=lambda n, _: built.append(n)
    )
    answers.put((bool(built), len(notes), int(np.sum(cache, dtype=np.int64))))  # type: ignore[attr-defined]


def test_two_processes_build_one_cache(tmp_path: Path) -> None:
    items = file_items(tmp_path / "images", 300)
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(2), context.Queue()
    arguments = (str(tmp_path / "c"), str(items.folder), barrier, answers)
    processes = [context.Process(target=_build, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    found = sorted(answers.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert [built for built, _, _ in found] == [False, True]
    assert found[0][2] == found[1][2]
    assert found[1][1] == 0  # the one that built had nothing to tell
    assert len(list((tmp_path / "c").glob("*.npy"))) == 1


def test_a_crop_of_whole_pixels_at_its_own_size_is_a_slice() -> None:
    items = array_items(3, 30, 40)
    crop = read_crop(items, 1, lambda height, width: (5, 7, 17, 19), 12, "bilinear")
    np.testing.assert_array_equal(crop, items.pixels[1, 7:19, 5:17])


def test_a_crop_is_cut_out_first_and_then_resized() -> None:
    items = array_items(1, 48, 96)
    box = (24, 0, 72, 48)
    crop = read_crop(items, 0, lambda height, width: box, 16, "bicubic")
    cut = Image.fromarray(items.read(0)).crop(box)
    expected = np.asarray(cut.resize((16, 16), Image.Resampling.BICUBIC))
    assert np.abs(crop.astype(int) - expected).max() <= 2
