import subprocess
import sys

import numpy as np
import pytest

from lightning_modules import streams
from lightning_modules.streams import draws, permutation, redrawn, stream_key, stream_seed


@pytest.mark.parametrize("width", [1, 3, 4, 5, 22])
def test_any_slicing_of_the_positions_gives_the_same_rows(width):
    whole = draws(3, "crop", 2, 0, 50, width)
    cuts = [0, 1, 8, 8, 29, 50]
    pairs = zip(cuts[:-1], cuts[1:], strict=True)
    parts = [draws(3, "crop", 2, low, high - low, width) for low, high in pairs]
    assert whole.shape == (50, width)
    assert np.array_equal(np.concatenate(parts), whole)


def test_seed_stream_epoch_and_position_all_matter():
    variants = [
        draws(0, "crop", 0, 0, 20, 4),
        draws(1, "crop", 0, 0, 20, 4),
        draws(0, "flip", 0, 0, 20, 4),
        draws(0, ("crop", 0), 0, 0, 20, 4),
        draws(0, ("crop", 1), 0, 0, 20, 4),
        draws(0, ("crop", "1"), 0, 0, 20, 4),
        draws(0, "crop", 1, 0, 20, 4),
        draws(0, "crop", 0, 20, 20, 4),
    ]
    flat = np.stack(variants).ravel()
    assert len(np.unique(flat)) == flat.size


def test_a_stream_name_is_the_same_alone_and_in_a_tuple():
    assert np.array_equal(draws(0, "crop", 0, 0, 3, 4), draws(0, ("crop",), 0, 0, 3, 4))


def test_a_redraw_of_none_is_the_seed_itself():
    assert [redrawn(seed, 0) for seed in (0, 1, 7, 2**62)] == [0, 1, 7, 2**62]


def test_every_redraw_of_every_seed_is_another_seed():
    found = {redrawn(seed, redraw) for seed in range(20) for redraw in range(20)}
    assert len(found) == 20 * 20
    assert all(0 <= seed < 2**63 for seed in found)


def test_names_cannot_run_into_each_other():
    keys = {
        stream_key(0, "ab", "c"),
        stream_key(0, "a", "bc"),
        stream_key(0, "abc"),
        stream_key(0, "i1;"),
        stream_key(0, 1),
        stream_key(0, "1"),
        stream_key(1, 0),
    }
    assert len(keys) == 7
    assert all(0 <= key < 2**128 for key in keys)


def test_draws_are_uniform_and_uncorrelated():
    values = draws(7, "uniformity", 0, 0, 20_000, 4)
    assert values.min() >= 0.0
    assert values.max() < 1.0
    counts = np.histogram(values, bins=64, range=(0, 1))[0]
    expected = values.size / 64
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert 63 - 4 * np.sqrt(126) < chi_square < 63 + 4 * np.sqrt(126)  # mean and 4 deviations
    correlation = np.corrcoef(values, rowvar=False)
    assert np.abs(correlation - np.eye(4)).max() < 4 / np.sqrt(20_000)
    assert abs(np.corrcoef(values[1:, 0], values[:-1, 0])[0, 1]) < 4 / np.sqrt(20_000)


def test_draws_are_the_53_high_bits_of_philox_words():
    words = np.random.Philox(counter=10, key=stream_key(5, "draws", "x", 1)).random_raw(8)
    assert np.array_equal(draws(5, "x", 1, 5, 1, 8)[0], [int(word >> 11) / 2**53 for word in words])


def test_permutation_is_an_order_that_depends_on_seed_stream_and_epoch():
    order = permutation(0, "order", 0, 1000)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(1000))
    assert np.array_equal(order, permutation(0, "order", 0, 1000))
    others = [permutation(*args, 1000) for args in ((1, "order", 0), (0, "o", 0), (0, "order", 1))]
    assert all((order == other).mean() < 0.02 for other in others)
    assert permutation(0, "order", 0, 0).shape == (0,)


def test_permutation_puts_each_item_everywhere():
    first = [permutation(seed, "order", 0, 5)[0] for seed in range(1000)]
    counts = np.bincount(first, minlength=5)
    assert ((counts - 200) ** 2 / 200).sum() < 18.5  # chi-square, 4 degrees of freedom, p = 0.001


def test_stream_seed_fits_torch():
    seeds = {stream_seed(seed, "initialisation", "conv1.weight") for seed in range(100)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("arguments", [(-1, 4, 2), (0, -1, 2), (0, 4, 0)])
def test_draws_refuse_impossible_slices(arguments):
    with pytest.raises(ValueError, match="start >= 0, count >= 0 and width >= 1"):
        draws(0, "crop", 0, *arguments)


@pytest.mark.parametrize("name", [1.5, True, None])
def test_names_are_words_or_integers(name):
    with pytest.raises(TypeError, match="named by str and int"):
        stream_key(0, name)


def test_permutation_refuses_a_negative_length():
    with pytest.raises(ValueError, match="n >= 0, got -1"):
        permutation(0, "order", 0, -1)


def test_the_file_does_not_load_torch():
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, streams.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
