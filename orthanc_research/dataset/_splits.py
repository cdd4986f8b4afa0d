"""Who is in train, who in test: by patient, in strata, in an order that only a key or a seed decides; then for good.

An order by HMAC(key, seed, patient) and a cut by largest remainder give the exact sizes; plain buckets of a hash do not
(400 patients at 8 % positives: 6.7, 10.8 and 10.4 %; here 7.9, 8.3 and 8.3 %).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import pandas as pd

from orthanc_research.errors import DatasetError, QueryError

__all__ = ["Digest", "assign", "check_leakage", "folds", "identity_of", "plain_digest"]

Digest = Callable[[str, str, str], bytes]
"""(purpose, namespace, value) → 32 bytes that follow from a secret: `deid.Key.digest` of the project's key."""

_PURPOSE = "dataset-split"


def identity_of(issuer: str | None, patient_id: str | None) -> str:
    """A patient as one text: IssuerOfPatientID and PatientID, before anonymization; "" for a blank PatientID. PHI."""
    identifier = (patient_id or "").strip()
    if not identifier:
        return ""
    return json.dumps([(issuer or "").strip(), identifier], ensure_ascii=False)


def plain_digest(purpose: str, namespace: str, value: str) -> bytes:
    """sha256 without a key, for what is not anonymized: whoever has the PatientIDs can tell the order."""
    message = b""
    for part in (purpose, namespace, value):
        content = part.encode("utf-8", "surrogatepass")
        message += len(content).to_bytes(8, "big") + content
    return hashlib.sha256(message).digest()


def assign(
    patients: pd.DataFrame,
    ratios: Mapping[str, float],
    *,
    seed: str,
    digest: Digest = plain_digest,
    strata: Sequence[str] = (),
    placed: Mapping[str, str] | None = None,
) -> pd.Series[str]:
    """The split of each patient: `patients` is indexed by `identity_of`, one row each, with the columns in `strata`.

    Sizes are exact: the largest remainder of `ratios` over all, and each stratum's share of a split is off by one
    patient at most. A missing value is a stratum of its own. The order of rows, of `strata`'s values and of `ratios`
    does not matter.

    `placed` are patients that have their split already, and keep it: the others bring all of `patients` as near to
    `ratios` as it gets. Who is placed and not in `patients` does not count.

    `DatasetError` for a patient that nobody can tell from another (""),
    and for a split that `ratios` does not name; `QueryError` for two rows of one patient.
    """
    _check(patients, ratios, strata)
    placed = dict(placed or {})
    if not set(placed.values()) <= set(ratios):
        raise DatasetError("Some patients were placed in a split that the recipe no longer has; keep its name.")
    names = sorted(ratios, key=lambda name: (-ratios[name], name))
    groups = _groups(patients, strata)
    fixed = [[sum(placed.get(each) == name for each in group) for name in names] for group in groups]
    waiting = [_ordered((each for each in group if each not in placed), seed, digest) for group in groups]
    shares = [
        _shares([ratios[name] * len(group) - there for name, there in zip(names, held, strict=True)], len(rest))
        for group, held, rest in zip(groups, fixed, waiting, strict=True)
    ]
    found = {each: placed[each] for group in groups for each in group if each in placed}
    for rest, sizes in zip(waiting, _sizes(shares), strict=True):
        start = 0
        for name, size in zip(names, sizes, strict=True):
            found |= dict.fromkeys(rest[start : start + size], name)
            start += size
    return pd.Series([found[each] for each in patients.index], index=patients.index, name="split", dtype="str")


def folds(
    patients: pd.DataFrame,
    count: int,
    *,
    seed: str,
    digest: Digest = plain_digest,
    strata: Sequence[str] = (),
    placed: Mapping[str, int] | None = None,
) -> pd.Series[int]:
    """The fold of each patient, from 0: as `assign` with `count` equal parts, in the same order."""
    if count < 2:
        raise QueryError("Cross-validation needs two folds or more.")
    parts = {f"{number:03d}": 1 / count for number in range(count)}
    there = {patient: f"{fold:03d}" for patient, fold in (placed or {}).items()}
    found = assign(patients, parts, seed=seed, digest=digest, strata=strata, placed=there)
    return found.astype("int64").rename("fold")


def check_leakage(splits: pd.DataFrame, pixel_hashes: pd.DataFrame | None = None) -> pd.DataFrame:
    """What is on both sides: a row for each leak; an empty frame when there is none.

    `splits` has a row a series: SeriesInstanceUID, PatientID, split. `pixel_hashes` has SeriesInstanceUID and
    PixelHash, a row a frame; frames that are alike everywhere have none (`pixel_hash`). Columns of the result: `kind`
    ("patient" or "pixels"), `splits` (their names, by comma), `series` (UIDs, by comma), `count` (patients: 1; pixels:
    different frames that are there twice).
    """
    rows = []
    for _, group in splits.groupby("PatientID", dropna=True, sort=True):
        if group["split"].nunique() > 1:
            rows.append(_leak("patient", group, 1))
    if pixel_hashes is not None:
        held = pixel_hashes.dropna(subset=["PixelHash"])[["SeriesInstanceUID", "PixelHash"]].drop_duplicates()
        table = held.merge(splits[["SeriesInstanceUID", "split"]], on="SeriesInstanceUID", how="inner")
        apart = table.groupby("PixelHash")["split"].nunique()
        table = table[table["PixelHash"].isin(apart[apart > 1].index)]
        among = table.groupby("PixelHash")["SeriesInstanceUID"].agg(lambda uids: ",".join(sorted(set(uids))))
        for uids, count in among.value_counts().sort_index().items():
            rows.append(_leak("pixels", table[table["SeriesInstanceUID"].isin(str(uids).split(","))], int(count)))
    return pd.DataFrame(rows, columns=["kind", "splits", "series", "count"]).astype(
        {"kind": "str", "splits": "str", "series": "str", "count": "int64"}
    )


def _leak(kind: str, group: pd.DataFrame, count: int) -> dict[str, object]:
    return {
        "kind": kind,
        "splits": ",".join(sorted(set(group["split"]))),
        "series": ",".join(sorted(set(group["SeriesInstanceUID"]))),
        "count": count,
    }


def _check(patients: pd.DataFrame, ratios: Mapping[str, float], strata: Sequence[str]) -> None:
    if not ratios or any(not ratio > 0 for ratio in ratios.values()) or not math.isclose(sum(ratios.values()), 1):
        raise QueryError("Ratios are numbers above 0 that add up to 1.")
    missing = [name for name in strata if name not in patients.columns]
    if missing:
        raise DatasetError(f"There is no column {missing[0]} to stratify by.")
    if not patients.index.is_unique:
        raise QueryError("A patient has two rows; a split needs one row a patient.")
    if (patients.index == "").any():
        raise DatasetError(
            "There are series without a PatientID: nobody can tell whose they are, so they cannot be split by patient."
        )


def _groups(patients: pd.DataFrame, strata: Sequence[str]) -> list[list[str]]:
    """The patients of each stratum; the strata in an order that comes from their values alone."""
    if not strata:
        return [[str(each) for each in patients.index]]
    groups: dict[tuple[Hashable, ...], list[str]] = {}
    columns = [patients[name].astype("object").where(patients[name].notna(), None) for name in strata]
    for patient, *values in zip(patients.index, *columns, strict=True):
        groups.setdefault(tuple("" if value is None else f"={value}" for value in values), []).append(str(patient))
    return [groups[key] for key in sorted(groups, key=str)]


def _ordered(patients: Iterable[str], seed: str, digest: Digest) -> list[str]:
    return sorted(patients, key=lambda patient: (digest(_PURPOSE, seed, patient), patient))


def _shares(wanted: Sequence[float], total: int) -> list[float]:
    """What each split should get of so many, in proportion to what it wants; who has too many gets none."""
    positive = [max(each, 0.0) for each in wanted]
    whole = sum(positive)
    return [each * total / whole if whole else total / len(wanted) for each in positive]


def _largest_remainder(shares: Sequence[float]) -> list[int]:
    """Whole numbers with the same sum; what is left after rounding down goes to the largest remainders."""
    floors = [_floor(share) for share in shares]
    left = round(sum(shares)) - sum(floors)
    order = sorted(range(len(shares)), key=lambda k: (floors[k] - shares[k], k))
    for k in order[:left]:
        floors[k] += 1
    return floors


def _floor(share: float) -> int:
    return math.floor(share + 1e-9)  # 0.7 x 10 is a little below 7


def _sizes(shares: Sequence[Sequence[float]]) -> list[list[int]]:
    """Whole numbers for a table of shares: each row keeps its sum, each column is the largest remainder of its own.

    Every row rounds down and gives what is left, one at most a column, to the columns that lack most (as Gale and Ryser
    build a table of 0 and 1 from the sums of its rows and columns).
    """
    sizes = [[_floor(share) for share in row] for row in shares]
    columns = range(len(shares[0]) if shares else 0)
    goals = _largest_remainder([sum(row[k] for row in shares) for k in columns])
    lacking = [goals[k] - sum(row[k] for row in sizes) for k in columns]
    left = [round(sum(row)) - sum(size) for row, size in zip(shares, sizes, strict=True)]
    for place in sorted(range(len(sizes)), key=lambda h: (-left[h], h)):
        order = sorted((-lacking[k], sizes[place][k] - shares[place][k], k) for k in columns)
        for _, _, k in order[: left[place]]:
            sizes[place][k] += 1
            lacking[k] -= 1
    return sizes
