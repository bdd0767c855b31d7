"""The laws of the partition by name and of the subset by seed."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from lightning_modules.data import DataError, split_train, train_subset
from lightning_modules.data.split import stratified_part

COUNTS = (100, 37, 8, 3)
LABELS = np.repeat(np.arange(len(COUNTS)), COUNTS).astype(np.int64)
NAMES = tuple(f"train/{label}/{i:04d}.jpg" for i, label in enumerate(LABELS))
FRACTIONS = (0.2, 1 / 3, 0.5, 0.8)


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_the_parts_are_disjoint_complete_and_stratified(fraction: float) -> None:
    train, minival = split_train(NAMES, LABELS, fraction)
    assert not set(train) & set(minival)
    assert sorted([*train, *minival]) == list(range(len(NAMES)))
    assert (np.diff(train) > 0).all() and (np.diff(minival) > 0).all()
    taken = np.bincount(LABELS[minival], minlength=len(COUNTS))
    assert np.abs(taken - fraction * np.array(COUNTS)).max() <= 0.5 + 1e-9


def test_the_order_of_the_names_does_not_matter() -> None:
    order = np.random.default_rng(0).permutation(len(NAMES))
    _, minival = split_train(NAMES, LABELS, 0.3)
    _, shuffled = split_train([NAMES[i] for i in order], LABELS[order], 0.3)
    assert {NAMES[i] for i in minival} == {NAMES[order[i]] for i in shuffled}


def test_a_larger_fraction_contains_the_smaller() -> None:
    parts = [set(split_train(NAMES, LABELS, fraction)[1]) for fraction in FRACTIONS]
    for smaller, larger in zip(parts, parts[1:], strict=False):
        assert smaller < larger


def test_the_partition_is_fixed_for_ever() -> None:
    """A change would move images between minival and train of finished runs."""
    names, labels = NAMES[:20], LABELS[:20]
    ranked = sorted(range(20), key=lambda i: blake2b(f"minival\0{names[i]}".encode(), 16))
    _, minival = split_train(names, labels, 0.25)
    assert minival.tolist() == sorted(ranked[:5]) == [3, 4, 14, 18, 19]
    assert stratified_part(names, labels, 0.25, "other").tolist() != minival.tolist()


def blake2b(content: bytes, size: int) -> str:
    return hashlib.blake2b(content, digest_size=size).hexdigest()


def test_no_minival_is_everything() -> None:
    train, minival = split_train(NAMES, LABELS, 0.0)
    assert len(minival) == 0 and train.tolist() == list(range(len(NAMES)))


@pytest.mark.parametrize(
    ("fraction", "words"),
    [
        (-0.1, "minival_fraction is -0.1"),
        (1.0, "minival_fraction is 1;"),
        (0.1, "minival_fraction 0.1 has no image of 1 of 4 classes .the smallest has 3"),
        (0.9, "what minival_fraction 0.9 leaves has no image"),
    ],
)
def test_a_fraction_that_leaves_a_class_empty_is_refused(fraction: float, words: str) -> None:
    with pytest.raises(DataError, match=words):
        split_train(NAMES, LABELS, fraction)


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_a_subset_is_stratified_and_varies_with_the_seed(fraction: float) -> None:
    index = np.setdiff1d(np.arange(len(LABELS)), np.arange(0, 130, 7))
    within = np.bincount(LABELS[index])
    subsets = [train_subset(LABELS, index, fraction, seed) for seed in range(3)]
    for subset in subsets:
        assert set(subset) <= set(index) and (np.diff(subset) > 0).all()
        assert np.abs(np.bincount(LABELS[subset]) - fraction * within).max() <= 0.5 + 1e-9
    assert len({tuple(subset) for subset in subsets}) == 3
    np.testing.assert_array_equal(subsets[1], train_subset(LABELS, index, fraction, 1))
    np.testing.assert_array_equal(subsets[1], train_subset(LABELS, index[::-1], fraction, 1))


def test_subsets_of_one_seed_are_nested_and_end_in_everything() -> None:
    index = np.arange(len(LABELS))
    subsets = [set(train_subset(LABELS, index, f, 5)) for f in (*FRACTIONS, 1.0)]
    for smaller, larger in zip(subsets, subsets[1:], strict=False):
        assert smaller < larger
    assert subsets[-1] == set(index)


@pytest.mark.parametrize(
    ("fraction", "words"),
    [
        (0.0, "train_fraction is 0;"),
        (1.5, "train_fraction is 1.5"),
        (0.01, "train_fraction 0.01 has no image of 3 of 4 classes"),
    ],
)
def test_an_impossible_subset_is_refused(fraction: float, words: str) -> None:
    with pytest.raises(DataError, match=words):
        train_subset(LABELS, np.arange(len(LABELS)), fraction, 0)
