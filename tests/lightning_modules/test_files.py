import json
import os

import pytest

from lightning_modules.files import read_json, write_aside, write_json, write_text


def test_a_block_that_ends_well_replaces_the_file(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with write_aside(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["result.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_breaks_off_leaves_the_old_file_and_no_litter(tmp_path, error):
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(error), write_aside(path) as file:
        file.write(b"half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]


def test_a_file_that_was_not_there_is_not_there_after_a_break(tmp_path):
    with pytest.raises(ValueError, match="stop"), write_aside(tmp_path / "new"):
        raise ValueError("stop")
    assert os.listdir(tmp_path) == []


def test_two_writers_do_not_mix(tmp_path):
    path = tmp_path / "result.json"
    with write_aside(path) as first, write_aside(path) as second:
        first.write(b"1" * 100_000)
        second.write(b"2" * 100_000)
    assert path.read_bytes() == b"1" * 100_000  # the outer block ended last


def test_a_written_file_may_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "ours", "text")
        (tmp_path / "plain").write_text("text")
    finally:
        os.umask(before)
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("ours", "plain")}
    assert modes == {"ours": 0o640, "plain": 0o640}


def test_json_comes_back_as_it_was(tmp_path):
    value = {"b": [1, 2.5, None, True], "a": {"text": "\u00e4"}}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value
    assert json.loads((tmp_path / "value.json").read_text(encoding="utf-8")) == value


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_json_cannot_hold_is_refused_and_leaves_the_old_file(tmp_path, number):
    write_json(tmp_path / "value.json", {"top1": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "value.json", {"top1": number})
    assert read_json(tmp_path / "value.json") == {"top1": 1.0}


def test_a_missing_file_reads_as_none_and_a_damaged_one_is_named(tmp_path):
    assert read_json(tmp_path / "none.json") is None
    assert read_json(tmp_path / "no-folder" / "none.json") is None
    (tmp_path / "half.json").write_text('{"a": ')
    assert read_json(tmp_path / "half.json / below") is None
    with pytest.raises(ValueError, match=r"half\.json is damaged"):
        read_json(tmp_path / "half.json")
