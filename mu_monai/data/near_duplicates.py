"""Near-duplicates: images that look alike although their files differ, found by a perceptual hash."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import imagehash
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from mu_monai.data.case_files import image_files
from mu_monai.data.pictures.decoding import Range, read_image
from mu_monai.data.reading import Reading
from mu_monai.data.volumes.files import is_volume
from mu_monai.errors import InputError
from mu_monai.keys import CASE_ID, FORGET, IMAGE, SUBSET

_log = logging.getLogger(__name__)

HASH_SIDE = 16  # 16 x 16 = 256 bits; with the usual 64 bits unrelated skin lesions collide at distance 4
NEAR_BITS = 24
_CHUNK = 1 << 20  # comparisons at a time, which bounds the memory to about 200 MB
_PARTS = 16  # of 16 bits
_FLIPPED = np.array([0, *(1 << bit for bit in range(16))], dtype=np.uint16)  # at most one bit of a part
_Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]


def find_near_duplicates(
    table: pd.DataFrame,
    max_distance: int = NEAR_BITS,
    reading: Reading = Reading(),  # noqa: B008 - frozen
) -> list[dict[str, Any]]:
    """List the cases of other subsets that look like a case to forget.

    The default of 24 of 256 bits is in a gap of real images. The same photograph at half size or as JPEG of quality 50
    differs by a median of 0-8 bits (95th percentile 18), and the re-encoded copies in the ISIC 9-class folder by 2-4.
    Different photographs of one lesion start at 26, and the most similar images of different patients differ by 42
    (ISIC) and 48 (CHASE_DB1). Cropped, rotated or mirrored copies are not found.

    Args:
        table: the manifest with its `subset` column; volumes are skipped, and of several files the first is compared.
        max_distance: the largest Hamming distance to report, in bits out of 256.
        reading: how the images are read.

    Returns:
        `{"forget": case_id, "other": case_id, "subset": name, "distance": bits}`, closest first.

    Source: the discrete cosine transform hash of the `imagehash` library.
    """
    table = table.assign(**{IMAGE: [image_files(image)[0] for image in table[IMAGE]]})
    table = table[~table[IMAGE].map(is_volume)]
    if not (table[SUBSET] == FORGET).any() or (table[SUBSET] == FORGET).all():
        return []
    table, hashes = _hashed(table, reading.picture_range)
    is_forget = (table[SUBSET] == FORGET).to_numpy()
    forget, others = table[is_forget], table[~is_forget]
    if forget.empty or others.empty:
        return []
    rows, columns, distances = _near_pairs(hashes[is_forget], hashes[~is_forget], max_distance)
    pairs = pd.DataFrame(
        {
            "forget": forget[CASE_ID].to_numpy()[rows],
            "other": others[CASE_ID].to_numpy()[columns],
            "subset": others[SUBSET].to_numpy()[columns],
            "distance": distances,
        }
    )
    pairs = pairs.sort_values(["distance", "forget", "other"])
    return [{str(name): value for name, value in row.items()} for row in pairs.to_dict("records")]


def _hashed(table: pd.DataFrame, value_range: Range | None) -> tuple[pd.DataFrame, NDArray[np.uint64]]:
    """The cases that can be compared, and their hashes, `(n, 4)` words of 64 bits."""
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda path: _hash_bits(path, value_range), table[IMAGE]))
    refused = [bits for bits in found if isinstance(bits, InputError)]
    if refused:  # only in splits of earlier versions: the checks of new ones refuse such images
        _log.warning("%d images are not compared with others for look-alikes, such as: %s", len(refused), refused[0])
    hashes = [bits for bits in found if not isinstance(bits, InputError)]
    words = np.packbits(hashes, axis=1).view(np.uint64) if hashes else np.empty((0, 4), dtype=np.uint64)
    return table[[not isinstance(bits, InputError) for bits in found]], words


def _hash_bits(path: str, value_range: Range | None) -> NDArray[np.bool_] | InputError:
    try:
        image = Image.fromarray(np.round(read_image(path, value_range)).astype(np.uint8))
    except InputError as error:
        return error
    bits: NDArray[np.bool_] = imagehash.phash(image, hash_size=HASH_SIDE).hash.ravel()
    return bits


def _near_pairs(
    first: NDArray[np.uint64], second: NDArray[np.uint64], max_distance: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int64]]:
    """The pairs of hashes within a distance, as rows of both and the distance, in the order of the rows."""
    some = _alike_in_a_part(first, second, max_distance)
    pairs = _all_pairs(len(first), len(second)) if some is None else some
    found = [_within(first, second, rows, columns, max_distance) for rows, columns in pairs]
    rows, columns, distances = (np.concatenate(each) for each in zip(*found, strict=True))
    _, places = np.unique(rows * len(second) + columns, return_index=True)  # those alike in two parts are found twice
    return rows[places], columns[places], distances[places]


def _within(
    first: NDArray[np.uint64],
    second: NDArray[np.uint64],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    max_distance: int,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int64]]:
    distances = np.bitwise_count(first[rows] ^ second[columns]).sum(axis=1, dtype=np.int64)
    near = distances <= max_distance
    return rows[near], columns[near], distances[near]


def _all_pairs(first: int, second: int) -> Iterator[_Pairs]:
    step = max(1, _CHUNK // second)
    for start in range(0, first, step):
        rows = np.arange(start, min(start + step, first))
        yield np.repeat(rows, second), np.tile(np.arange(second), len(rows))


def _alike_in_a_part(
    first: NDArray[np.uint64], second: NDArray[np.uint64], max_distance: int
) -> Iterator[_Pairs] | None:
    """The pairs that can be near, by 16 parts of 16 bits: of up to 31 differing bits, some part has one at most.

    Comparing all pairs would take a time that is quadratic in the number of cases.

    Returns:
        the pairs, some of them several times; None if these are not fewer, as with images that are all alike.
    """
    if max_distance >= 2 * _PARTS:
        return None
    if sum(int(counts.sum()) for _, _, counts in _looked_up(first, second)) > len(first) * len(second):
        return None
    return (pair for order, starts, counts in _looked_up(first, second) for pair in _listed(order, starts, counts))


def _looked_up(
    first: NDArray[np.uint64], second: NDArray[np.uint64]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]]:
    """For every part and every bit of it: an order of the second, and where in it and how many each first one has."""
    for ours, theirs in zip(first.view(np.uint16).T, second.view(np.uint16).T, strict=True):
        order = np.argsort(theirs, kind="stable")
        values = theirs[order]
        for flipped in _FLIPPED:
            starts = np.searchsorted(values, ours ^ flipped, "left")
            yield order, starts, np.searchsorted(values, ours ^ flipped, "right") - starts


def _listed(order: NDArray[np.intp], starts: NDArray[np.intp], counts: NDArray[np.intp]) -> Iterator[_Pairs]:
    """The pairs of each row with `counts` places of an order from `starts` on, a bounded number at a time."""
    ends = np.cumsum(counts)
    for cut in np.split(np.arange(len(counts)), np.searchsorted(ends, np.arange(_CHUNK, ends[-1], _CHUNK))):
        rows = np.repeat(cut, counts[cut])
        before = np.repeat(ends[cut] - counts[cut], counts[cut])
        within = np.arange(len(rows)) + (before[0] if len(rows) else 0) - before
        yield rows, order[starts[rows] + within]
