"""Splits by patient: exact sizes, balanced strata, an order that a key decides, and nobody who moves."""

from __future__ import annotations

import hashlib
import hmac
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthanc_research.dataset._hash import pixel_hash
from orthanc_research.dataset._lock import read_lock, write_lock
from orthanc_research.dataset._splits import assign, check_leakage, folds, identity_of
from orthanc_research.errors import DatasetError, QueryError

RATIOS = {"train": 0.7, "val": 0.15, "test": 0.15}


def patients(count: int, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns, index=[identity_of("hospital", f"P{number}") for number in range(count)])


def keyed(key: bytes) -> Any:
    def digest(purpose: str, namespace: str, value: str) -> bytes:
        return hmac.digest(key, "\0".join((purpose, namespace, value)).encode(), "sha256")

    return digest


def test_strata_are_as_balanced_as_sizes_allow() -> None:
    # DATASETS §3: 400 patients, 8 % of them positive
    table = patients(400, label=[int(number < 32) for number in range(400)])
    split = assign(table, RATIOS, seed="any", strata=["label"])
    assert split.value_counts().to_dict() == {"train": 280, "val": 60, "test": 60}
    assert table.groupby(split)["label"].sum().to_dict() == {"train": 22, "val": 5, "test": 5}


@st.composite
def cases(draw: st.DrawFn) -> tuple[pd.DataFrame, dict[str, float]]:
    count = draw(st.integers(1, 120))
    table = patients(
        count,
        sex=pd.Series(draw(st.lists(st.sampled_from(["F", "M", None]), min_size=count, max_size=count))).array,
        label=draw(st.lists(st.integers(0, 5), min_size=count, max_size=count)),
    )
    weights = draw(st.lists(st.integers(1, 20), min_size=1, max_size=5))
    return table, {f"s{place}": weight / sum(weights) for place, weight in enumerate(weights)}


@settings(max_examples=40)
@given(cases())
def test_sizes_are_exact_and_strata_are_off_by_one_at_most(case: tuple[pd.DataFrame, dict[str, float]]) -> None:
    table, ratios = case
    split = assign(table, ratios, seed="s", strata=["sex", "label"])
    sizes = split.value_counts().reindex(list(ratios), fill_value=0)
    assert sizes.sum() == len(table)
    for name, ratio in ratios.items():
        assert math.floor(ratio * len(table) + 1e-6) <= sizes[name] <= math.ceil(ratio * len(table) - 1e-6)
    left = len(table) - sum(math.floor(ratio * len(table) + 1e-6) for ratio in ratios.values())
    larger = [name for name, ratio in ratios.items() if sizes[name] > math.floor(ratio * len(table) + 1e-6)]
    assert len(larger) == left  # the largest remainders got one more
    remainders = {name: ratio * len(table) % 1 for name, ratio in ratios.items()}
    assert all(remainders[a] >= remainders[b] - 1e-6 for a in larger for b in set(ratios) - set(larger))
    for _, stratum in table.groupby(["sex", "label"], dropna=False):
        counts = split[stratum.index].value_counts()
        assert all(abs(counts.get(name, 0) - ratio * len(stratum)) <= 1 + 1e-6 for name, ratio in ratios.items())


@settings(max_examples=15)
@given(cases(), st.randoms())
def test_the_order_of_rows_and_ratios_does_not_matter(case: tuple[pd.DataFrame, dict[str, float]], random: Any) -> None:
    table, ratios = case
    mixed = table.loc[random.sample(list(table.index), len(table))]
    again = assign(mixed, dict(reversed(ratios.items())), seed="s", strata=["label"])
    assert again.to_dict() == assign(table, ratios, seed="s", strata=["label"]).to_dict()


def test_the_order_follows_from_the_key_and_the_seed() -> None:
    table = patients(200)
    found = [
        assign(table, RATIOS, seed=seed, digest=keyed(key)) for seed, key in (("a", b"1"), ("b", b"1"), ("a", b"2"))
    ]
    assert not found[0].equals(found[1])
    assert not found[0].equals(found[2])
    assert found[0].equals(assign(table, RATIOS, seed="a", digest=keyed(b"1")))
    plain = assign(table, RATIOS, seed="a")
    order = sorted(
        table.index,
        key=lambda each: hashlib.sha256(
            b"".join(len(part).to_bytes(8, "big") + part for part in (b"dataset-split", b"a", each.encode()))
        ).digest(),
    )
    assert set(plain[plain == "train"].index) == set(order[:140])


@settings(max_examples=15)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=6), st.integers(0, 3))
def test_growth_moves_nobody_and_keeps_the_ratios(steps: list[int], strata: int) -> None:
    placed: Any = {}
    count = 0
    for step in steps:
        count += step
        table = patients(count, label=[number % (strata + 1) for number in range(count)])
        split = assign(table, RATIOS, seed="s", strata=["label"], placed=placed).to_dict()
        assert placed.items() <= split.items()
        placed = split
    sizes = pd.Series(placed).value_counts().reindex(list(RATIOS), fill_value=0)
    for name, ratio in RATIOS.items():
        assert abs(sizes[name] - ratio * count) < 1 + len(steps) / 2 + strata


def test_growth_one_by_one_fills_every_split() -> None:
    placed: Any = {}
    for count in range(1, 41):
        placed = assign(patients(count), RATIOS, seed="s", placed=placed).to_dict()
    assert pd.Series(placed).value_counts().to_dict() == {"train": 28, "val": 6, "test": 6}


def test_folds_are_even_and_locked_as_well() -> None:
    table = patients(103, label=[number % 2 for number in range(103)])
    found = folds(table, 5, seed="s", strata=["label"])
    assert sorted(found.value_counts()) == [20, 20, 21, 21, 21]
    assert table.groupby(found)["label"].sum().between(9, 12).all()
    more = folds(
        patients(150, label=0), 5, seed="s", strata=["label"], placed=dict(zip(found.index, found, strict=True))
    )
    assert more.loc[found.index].equals(found)
    assert sorted(more.value_counts()) == [30] * 5


def test_patients_are_told_apart_by_issuer_and_a_blank_one_is_refused() -> None:
    assert identity_of("a", "1") != identity_of("b", "1")
    assert identity_of(None, " 1 ") == identity_of("", "1")
    assert identity_of("a", " ") == identity_of(None, None) == ""
    with pytest.raises(DatasetError, match="without a PatientID"):
        assign(pd.DataFrame(index=["", "x"]), RATIOS, seed="s")
    with pytest.raises(QueryError, match="two rows"):
        assign(pd.DataFrame(index=["x", "x"]), RATIOS, seed="s")
    with pytest.raises(QueryError, match="add up"):
        assign(patients(3), {"train": 0.7, "test": 0.2}, seed="s")
    with pytest.raises(DatasetError, match="no column label"):
        assign(patients(3), RATIOS, seed="s", strata=["label"])
    with pytest.raises(DatasetError, match="no longer has"):
        assign(patients(3), {"train": 1.0}, seed="s", placed={"x": "test"})


def test_the_lock_keeps_everybody_and_names_nobody(tmp_path: Path) -> None:
    path, digest = tmp_path / "splits.lock.json", keyed(b"secret")
    table = patients(50)
    split: Any = assign(table, RATIOS, seed="s", digest=digest).to_dict()
    assert read_lock(path, table.index, seed="s", digest=digest) == {}
    write_lock(path, split, seed="s", digest=digest)
    assert read_lock(path, table.index, seed="s", digest=digest) == split
    write_lock(path, {identity_of("h", "new"): "val"}, seed="s", digest=digest)  # a query that shrank forgets nobody
    assert read_lock(path, table.index, seed="s", digest=digest) == split
    text = path.read_text()
    assert "hospital" not in text
    assert "P7" not in text
    assert path.stat().st_mode & 0o777 == 0o600
    moved = {next(iter(split)): "val" if split[next(iter(split))] != "val" else "test"}
    with pytest.raises(DatasetError, match="would move"):
        write_lock(path, moved, seed="s", digest=digest)
    for seed, key in (("other", b"secret"), ("s", b"another")):
        with pytest.raises(DatasetError, match="another seed or another key"):
            read_lock(path, table.index, seed=seed, digest=keyed(key))
    path.write_text(text[:50])
    with pytest.raises(DatasetError, match="restore it"):
        read_lock(path, table.index, seed="s", digest=digest)


def test_planted_leaks_are_found_and_empty_frames_are_none() -> None:
    splits = pd.DataFrame(
        {
            "SeriesInstanceUID": ["1", "2", "3", "4"],
            "PatientID": ["a", "b", "b", "c"],
            "split": ["train", "test", "test", "val"],
        }
    )
    image = np.arange(12, dtype=np.int16).reshape(3, 4)
    empty = np.zeros((3, 4), dtype=np.int16)
    hashes = pd.DataFrame(
        [("1", pixel_hash(image)), ("2", pixel_hash(image + 1)), ("1", pixel_hash(empty)), ("4", pixel_hash(empty))],
        columns=["SeriesInstanceUID", "PixelHash"],
    )
    assert check_leakage(splits, hashes).empty
    same = pd.concat([hashes, pd.DataFrame({"SeriesInstanceUID": ["4", "3"], "PixelHash": [pixel_hash(image)] * 2})])
    found = check_leakage(splits, same)
    assert found.to_dict("records") == [{"kind": "pixels", "splits": "test,train,val", "series": "1,3,4", "count": 1}]
    moved = splits.assign(split=["train", "test", "train", "val"])
    assert check_leakage(moved)[["kind", "series"]].to_dict("records") == [{"kind": "patient", "series": "2,3"}]
    assert pixel_hash(image) == pixel_hash(np.asfortranarray(image.astype(">i2")))
    assert pixel_hash(image) != pixel_hash(image.reshape(4, 3))
    assert pixel_hash(image) != pixel_hash(image.astype(np.uint16))
