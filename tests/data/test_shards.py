"""Shards of patients: nobody moves when somebody leaves, and what requests will cost."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mu_monai.data.shards import expected_requests, expected_share, keyed_place


@given(st.text(), st.integers(1, 50), st.text())
def test_a_place_depends_on_nobody_else(name, number, key):
    assert keyed_place(name, number, key) == keyed_place(name, number, key)
    assert 0 <= keyed_place(name, number, key) < number


def test_the_hash_spreads_patients_evenly_and_another_key_otherwise():
    counts = [[keyed_place(str(name), 8, key) for name in range(4000)] for key in ("0", "1")]
    assert all(abs(places.count(place) - 500) < 90 for places in counts for place in range(8))
    assert sum(one == other for one, other in zip(*counts, strict=True)) < 700


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [5, 5], [10, 3, 1], [22] * 8])
def test_the_expected_number_of_requests_is_that_of_a_simulation(sizes):
    generator = random.Random(0)
    people = [shard for shard, size in enumerate(sizes) for _ in range(size)]

    def requests():
        order = generator.sample(people, len(people))
        return max(order.index(shard) for shard in range(len(sizes))) + 1

    mean = sum(requests() for _ in range(2000)) / 2000
    assert expected_requests(sizes) == pytest.approx(mean, rel=0.05)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=10))
def test_a_request_takes_one_shard_of_equal_ones_and_more_of_larger_ones(sizes):
    assert expected_share([4] * len(sizes), [7] * len(sizes)) == pytest.approx(1 / len(sizes))
    assert expected_share(sizes, sizes) >= 1 / len(sizes) - 1e-12
