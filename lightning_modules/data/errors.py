"""The errors of this package for a user's mistake: told in words, never as a traceback."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 5  # names listed before "and N more": enough to see the pattern, still one line


class DataError(ValueError):
    """What is wrong with the data or with the words that name it, and what would be right."""


class CorruptImageError(DataError):
    """One image that cannot be decoded."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name  # relative to the folder of the set
        self.reason = reason
        super().__init__(
            f"{name} cannot be decoded ({reason}). Replace it, or leave corrupt images out "
            "with --skip-corrupt."
        )

    def __reduce__(self) -> tuple[type[CorruptImageError], tuple[str, str]]:
        return type(self), (self.name, self.reason)  # so that loader workers can send it


def corrupt_images(errors: Sequence[CorruptImageError], total: int) -> DataError:
    """Return one error for all corrupt images of a set of `total` images."""
    them = "it" if len(errors) == 1 else "them"
    listed = shortened([f"{error.name} ({error.reason})" for error in errors])
    return DataError(
        f"{len(errors)} of {total} images cannot be decoded: {listed}. Replace {them}, or leave "
        f"{them} out with --skip-corrupt."
    )


def shortened(words: Sequence[str]) -> str:
    """Join the first few words and say how many more there are."""
    more = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
