"""Pixels from image files: as PIL reads them, and what happens to corrupt ones."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_modules.data import (
    CorruptImageError,
    DataError,
    DataSpec,
    check_decodable,
    open_source,
)
from lightning_modules.data.decode import decode_image, image_size
from lightning_modules.data.memory import SCHEMA_VERSION
from tests.lightning_modules.data.conftest import noise, write_folders, write_image

TURNED = Image.Exif()
TURNED[0x0112] = 6  # the orientation: turned by 90 degrees


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("plain.jpg", "RGB", {"quality": 95}),
        ("sampled.jpg", "RGB", {"subsampling": "4:2:0"}),
        ("progressive.jpg", "RGB", {"progressive": True}),
        ("grey.jpg", "L", {}),
        ("cmyk.jpg", "CMYK", {}),
        (
            "turned.jpg",
            "RGB",
            {"exif": TURNED},
        ),
        ("plain.png", "RGB", {}),
        ("grey.png", "L", {}),
        ("alpha.png", "RGBA", {}),
        ("palette.png", "P", {}),
        ("clear.png", "P", {"transparency": b"\0\1\2"}),
        ("bits.png", "1", {}),
        ("plain.bmp", "RGB", {}),
        ("plain.webp", "RGB", {}),
    ],
)
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_images_are_read_as_pil_reads_them(
    name: str, mode: str, options: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / name
    Image.fromarray(noise(21, 34)).convert(mode).save(path, **options)
    pixels = decode_image(path.read_bytes(), name)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.abs(pixels.astype(int) - expected).max() <= 1
    assert pixels.shape == (21, 34, 3) and image_size(path.read_bytes()) == (21, 34)


def test_a_palette_with_transparency_warns_nobody(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    write_image(tmp_path / "clear.png", "P", transparency=b"\0\1")
    decode_image((tmp_path / "clear.png").read_bytes(), "clear.png")
    assert not recwarn.list


@pytest.mark.parametrize("keep", [0, 3, 100, -200])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_image_is_named(keep: int, suffix: str, tmp_path: Path) -> None:
    root = write_folders(tmp_path)
    bad = root / "train" / "b" / f"bad.{suffix}"
    Image.fromarray(noise(40, 40)).save(bad)
    bad.write_bytes(bad.read_bytes()[:keep])
    source = open_source(DataSpec("imagefolder", root))
    assert source.train.names[-1] == f"train/b/bad.{suffix}"
    with pytest.raises(CorruptImageError, match=rf"train/b/bad.{suffix} cannot.*--skip-corrupt"):
        source.train.read(4)


def test_corrupt_images_are_left_out_on_request(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "data")
    for name in ("train/b/bad.jpg", "val/a/bad.png"):
        (root / name).write_bytes(b"\xff\xd8\xff nonsense")
    spec, memory = DataSpec("imagefolder", root), tmp_path / "memory"
    whole = open_source(spec)
    assert len(whole.train) == 5 and whole.skipped == ()
    for where in (None, memory, memory):
        source = open_source(spec, skip_corrupt=True, memory=where)
        assert source.skipped == ("train/b/bad.jpg", "val/a/bad.png")
        assert len(source.train) == 4 and len(source.validation) == 4
        assert "train/b/bad.jpg" not in source.train.names


def test_the_check_for_corrupt_images_is_remembered(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "data")
    bad = root / "train/b/bad.jpg"
    bad.write_bytes(b"no image")
    make_old(root)
    spec, memory = DataSpec("imagefolder", root), tmp_path / "memory"
    open_source(spec, skip_corrupt=True, memory=memory)
    (record,) = memory.glob("*.json")
    assert f'"schema_version": {SCHEMA_VERSION}' in record.read_text()
    stat = bad.stat()
    bad.write_bytes(b"an image"[: stat.st_size])
    os.utime(bad, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert open_source(spec, skip_corrupt=True, memory=memory).skipped == ("train/b/bad.jpg",)


def test_a_class_of_corrupt_images_only_is_refused(tmp_path: Path) -> None:
    root = write_folders(tmp_path, images=1)
    (root / "train/b/0.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="class 'b' has no image left"):
        open_source(DataSpec("imagefolder", root), skip_corrupt=True)


def make_old(root: Path) -> None:
    for path in root.rglob("*.*"):
        os.utime(path, ns=(10**18, 10**18))


def test_a_corrupt_image_can_be_reported_by_another_process() -> None:
    error = CorruptImageError("a.jpg", "cut short")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.name, copy.reason, str(copy)) == (error.name, error.reason, str(error))


def test_sixteen_bits_of_grey_keep_their_upper_half() -> None:
    grey = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "png")
    portable = b"P5 16 16 65535\n" + grey.astype(">u2").tobytes()
    for content in (file.getvalue(), portable):
        pixels = decode_image(content, "grey")
        assert (pixels == (grey >> 8).astype(np.uint8)[:, :, None]).all()


def test_pixels_without_a_range_are_refused() -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.float32)).save(file, "tiff")
    with pytest.raises(CorruptImageError, match="32-bit pixels"):
        decode_image(file.getvalue(), "depth.tiff")


def test_a_set_is_checked_once_and_every_corrupt_image_named(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "data")
    for name in ("train/b/bad.jpg", "val/a/bad.png"):
        (root / name).write_bytes(b"no image")
    make_old(root)
    spec, memory, seen = DataSpec("imagefolder", root), tmp_path / "memory", []

    def check() -> None:
        check_decodable(open_source(spec), memory, lambda done, total: seen.append(done))

    with pytest.raises(DataError, match=r"2 of \d+ images .*bad.jpg.*bad.png"):
        check()
    for name in ("train/b/bad.jpg", "val/a/bad.png"):
        (root / name).unlink()
    check()
    good = root / "train/a/0.jpg"
    stat = good.stat()
    good.write_bytes(b"?" * stat.st_size)  # not seen: size and time are the same
    os.utime(good, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    check()
