from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from episodes.philox import philox4x32, random_words

# Known answers that Random123, the library of the paper's authors, publishes for philox4x32 with 10 rounds.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words_of(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers_of_random123(counter: str, key: str, expected: str) -> None:
    first, second = words_of(key)
    result = philox4x32(np.asarray(words_of(counter), np.uint32), (first, second))
    assert result.dtype == np.uint32
    assert result.tolist() == words_of(expected)


def test_many_counters_at_once_give_what_each_gives_alone() -> None:
    counters = np.asarray([words_of(counter) for counter, _, _ in KNOWN_ANSWERS], np.uint32)
    together = philox4x32(counters, (1, 2))
    assert together.tolist() == [philox4x32(counter, (1, 2)).tolist() for counter in counters]


def test_seed_stream_and_index_are_key_and_counter() -> None:
    """The layout is part of every recorded digest: block, stream, index low, index high under seed low, seed high."""
    seed, stream, index = 0x0123456789ABCDEF, 7, 0x11_2233_4455
    counter = np.asarray([1, stream, 0x22334455, 0x11], np.uint32)
    expected = philox4x32(counter, (0x89ABCDEF, 0x01234567)).tolist()
    assert random_words(seed, stream, np.asarray([index]), 8)[0, 4:].tolist() == expected


def test_the_words_of_an_index_do_not_depend_on_its_company_or_on_how_many_are_asked_for() -> None:
    alone = random_words(3, 1, np.asarray([5]), 11)
    together = random_words(3, 1, np.asarray([9, 5, 0]), 30)
    assert alone.shape == (1, 11)
    assert together.shape == (3, 30)
    assert together[1, :11].tolist() == alone[0].tolist()


def test_seed_stream_and_index_all_matter_in_all_their_bits() -> None:
    rows = {
        tuple(random_words(seed, stream, np.asarray([index]), 4)[0].tolist())
        for seed in (0, 1, 2**32, 2**64 - 1)
        for stream in (0, 1)
        for index in (0, 1, 2**32, 2**62)
    }
    assert len(rows) == 4 * 2 * 4


def test_every_bit_is_set_half_of_the_time_and_words_do_not_lean_on_each_other() -> None:
    words = random_words(0, 0, np.arange(4000), 8)
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), axis=1)  # (4000, 256)
    ones = bits.sum(axis=0)
    assert stats.chisquare(np.stack([ones, 4000 - ones]), axis=None, ddof=256 - 1).pvalue > 1e-3
    correlation = np.asarray(np.corrcoef(words.T))[~np.eye(8, dtype=bool)]
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_that_does_not_fit_into_64_bits_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=r"a seed is a whole number from 0 to 2\*\*64 - 1"):
        random_words(seed, 0, np.asarray([0]), 1)


def test_a_negative_index_is_refused() -> None:
    with pytest.raises(ValueError, match="indices count from 0, not from -1"):
        random_words(0, 0, np.asarray([0, -1]), 1)
