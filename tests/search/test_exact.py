"""Exact search, in memory and in chunks."""

from __future__ import annotations

import numpy as np
import pytest

from progeo.errors import ProgeoError
from progeo.search.exact import search, search_chunks


def random_descriptors(count: int, dimensions: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)


def test_search_agrees_with_all_distances() -> None:
    database, queries = random_descriptors(300), random_descriptors(40, seed=1)
    distances, predictions = search(database, queries, k=7)
    everything = np.linalg.norm(queries[:, None].astype(np.float64) - database[None], axis=2)
    np.testing.assert_array_equal(predictions, np.argsort(everything, axis=1)[:, :7])
    np.testing.assert_allclose(distances, np.sort(everything, axis=1)[:, :7], rtol=1e-4)
    assert (distances.dtype, predictions.dtype) == (np.float32, np.int64)


def test_search_gives_as_many_as_the_database_has() -> None:
    distances, predictions = search(random_descriptors(3), random_descriptors(5, seed=1), k=20)
    assert distances.shape == predictions.shape == (5, 3)


@pytest.mark.parametrize("sizes", [(300,), (1, 299), (100, 0, 100, 100), (7,) * 42 + (6,)])
def test_search_in_chunks_gives_the_same(sizes: tuple[int, ...]) -> None:
    database, queries = random_descriptors(300), random_descriptors(40, seed=1)
    database[150:] = database[:150]  # every distance twice: ties must keep the order of the database
    distances, predictions = search(database, queries, k=9)
    chunks = np.split(database, np.cumsum(sizes)[:-1])
    chunked_distances, chunked_predictions = search_chunks(iter(chunks), queries, k=9)
    np.testing.assert_array_equal(chunked_predictions[:, :8], predictions[:, :8])
    np.testing.assert_allclose(chunked_distances, distances, rtol=1e-5)


def test_search_in_chunks_names_a_bad_descriptor_by_its_number_in_the_database() -> None:
    broken = random_descriptors(5)
    broken[3, 2] = np.nan
    with pytest.raises(ProgeoError, match="descriptor of database image number 13"):
        search_chunks([random_descriptors(10), broken], random_descriptors(5), k=1)


def test_search_without_queries() -> None:
    distances, predictions = search(random_descriptors(3), random_descriptors(0), k=2)
    assert distances.shape == predictions.shape == (0, 2)


def test_equal_distances_keep_the_order_of_the_database() -> None:
    database = np.repeat(random_descriptors(2), 3, axis=0)
    _, predictions = search(database, database[:1], k=6)
    assert predictions[0].tolist() == [0, 1, 2, 3, 4, 5]


def test_search_takes_other_types_and_memory_orders() -> None:
    database, queries = random_descriptors(30), random_descriptors(4, seed=1)
    _, expected = search(database, queries, k=3)
    _, predictions = search(np.asfortranarray(database), queries.astype(np.float64), k=3)
    np.testing.assert_array_equal(predictions, expected)


def test_search_needs_the_same_dimension() -> None:
    with pytest.raises(ProgeoError, match=r"8 dimensions, the queries of 16; both must come from the same model"):
        search(random_descriptors(3), random_descriptors(3, dimensions=16))


def test_search_needs_a_table_of_descriptors() -> None:
    with pytest.raises(ProgeoError, match=r"descriptors of the queries have shape \(8,\)"):
        search(random_descriptors(3), random_descriptors(3)[0])


def test_search_needs_a_database() -> None:
    with pytest.raises(ProgeoError, match="The database has no descriptors"):
        search(random_descriptors(0), random_descriptors(3))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_search_names_the_descriptor_that_is_no_number(value: float) -> None:
    broken = random_descriptors(5)
    broken[3, 2] = value
    with pytest.raises(ProgeoError, match=r"descriptor of query number 3 \(from 0\) holds NaN or infinity"):
        search(random_descriptors(5), broken)
    with pytest.raises(ProgeoError, match="descriptor of database image number 3"):
        search(broken, random_descriptors(5))


def test_search_needs_at_least_one_prediction() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        search(random_descriptors(3), random_descriptors(3), k=0)
