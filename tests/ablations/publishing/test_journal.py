from pathlib import Path

import pytest

from ablations.publishing.journal import BEGUN, OFFLINE, ONLINE, Entry, Journal
from ablations.publishing.targets import targets_of

[WANDB] = targets_of("wandb", None, None)
[CSV] = targets_of("csv", None, None)
ENDED = {"status": "finished", "ended": 12.5}
ENTRY = Entry(how=ONLINE, status="finished", ended=12.5)


def test_what_was_written_is_read_and_the_last_word_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.add(WANDB, "a", Entry(how=BEGUN))
    journal.add(WANDB, "a", ENTRY)
    journal.add(CSV, "b", Entry(how="written", status="failed", ended=1.0))
    for found in (journal, Journal(tmp_path)):
        assert found.entry(WANDB, "a") == ENTRY
        assert found.entry(CSV, "a") is None
        assert not found.lacks(WANDB, "a", ENDED) and found.lacks(CSV, "a", ENDED)


@pytest.mark.parametrize("cut", range(1, 120, 9))
def test_a_line_that_was_cut_off_counts_as_none_and_spoils_no_other(
    tmp_path: Path, cut: int
) -> None:
    journal = Journal(tmp_path)
    for run in ("a", "b"):
        journal.add(WANDB, run, ENTRY)
    path = tmp_path / "published.jsonl"
    text = path.read_bytes()
    path.write_bytes(text[:-cut])
    journal = Journal(tmp_path)
    known = [run for run in ("a", "b") if journal.entry(WANDB, run) == ENTRY]
    assert known == (["a"] if cut > 1 else ["a", "b"])  # the end of the line alone
    journal.add(WANDB, "c", ENTRY)
    again = Journal(tmp_path)
    assert [run for run in "abc" if again.entry(WANDB, run)] == [*known, "c"]


@pytest.mark.parametrize("line", ["", "{}", "[]", "null", '{"schema_version": 2, "run": "a"}', "x"])
def test_lines_of_others_count_as_none(tmp_path: Path, line: str) -> None:
    (tmp_path / "published.jsonl").write_text(f"{line}\n")
    journal = Journal(tmp_path)
    journal.add(WANDB, "a", ENTRY)
    assert Journal(tmp_path).entry(WANDB, "a") == ENTRY


def test_a_run_is_lacking_until_its_own_end_is_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.lacks(WANDB, "a", ENDED)
    for status in ("running", "interrupted", "missing"):
        assert not journal.lacks(WANDB, "a", {"status": status})
    journal.add(WANDB, "a", Entry(how=BEGUN, status="finished", ended=12.5))
    assert journal.lacks(WANDB, "a", ENDED)
    journal.add(WANDB, "a", Entry(how=OFFLINE, status="failed", ended=3.0))
    assert journal.lacks(WANDB, "a", ENDED)  # made again since
    assert not Entry(how=OFFLINE, status="failed", ended=3.0).is_final
    journal.add(WANDB, "a", ENTRY)
    assert not journal.lacks(WANDB, "a", ENDED) and ENTRY.is_final


def test_a_journal_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("mine\n")
    (tmp_path / "published.jsonl").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="symbolic links"):
        Journal(tmp_path).add(WANDB, "a", ENTRY)
    assert (tmp_path / "theirs").read_text() == "mine\n"
