"""Croissant: a dataset described for machines, as JSON-LD (MLCommons Croissant 1.0, conformsTo below)."""

from __future__ import annotations

import datetime
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from orthanc_research.dataset._recipe import Recipe
from orthanc_research.errors import DatasetError
from orthanc_research.files import atomic_write

__all__ = ["CROISSANT", "croissant", "write_croissant"]

CROISSANT = "croissant.json"
_PLAIN = re.compile(r"[\w.-]+")  # no validator takes an @id with blanks, which columns of labels may have
_TABLES = ("series", "instances", "splits", "labels", "issues")
_ABOUT = {
    "series": "A row a series.",
    "instances": "A row an instance.",
    "splits": "A row a patient: the split, and the fold where there are some.",
    "labels": "A row for each label.",
    "issues": "What is unusual, was left out, or could not be read.",
    "frames": "A row a frame, without its pixels: geometry, rescale, shape and dtype.",
}
# As the specification's own examples have it: a validator warns of any other.
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def write_croissant(folder: str | os.PathLike[str], recipe: Recipe, *, published: datetime.date | None = None) -> Path:
    """Write croissant.json into a built folder; after its tables and frames, before the manifest."""
    target = Path(folder) / CROISSANT
    content = orjson.dumps(croissant(folder, recipe, published=published), option=orjson.OPT_INDENT_2)
    with atomic_write(target) as stream:
        stream.write(content)
    return target


def croissant(
    folder: str | os.PathLike[str], recipe: Recipe, *, published: datetime.date | None = None
) -> dict[str, Any]:
    """The description of a built folder: each table as a file with its sha256, the frames as a set of files.

    Every column but the pixels is a field, typed from the files' own schema. Nothing of the query is in it.
    `DatasetError` when a table is damaged.
    """
    root = Path(folder)
    about = recipe.dataset
    files = [_file(root / f"{name}.parquet") for name in _TABLES if (root / f"{name}.parquet").is_file()]
    records = [_records(name, _schema(root / f"{name}.parquet")) for name in _TABLES if _is_there(root, name)]
    first = next(iter(sorted((root / "frames").glob("*.parquet"))), None)
    if first is not None:
        files.append(
            {
                "@type": "cr:FileSet",
                "@id": "frames.parquet",
                "name": "frames.parquet",
                "description": "One file a series, one row a frame.",
                "encodingFormat": "application/x-parquet",
                "includes": "frames/*.parquet",
            }
        )
        records.append(_records("frames", _schema(first), of_set=True))
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": about.name,
        "description": about.description or f"{about.name}, built by orthanc_research from a recipe.",
        "version": about.version,
        "license": about.license,
        **({"datePublished": published.isoformat()} if published else {}),
        "distribution": files,
        "recordSet": [each for each in records if each["field"]],
    }


def _is_there(root: Path, name: str) -> bool:
    return (root / f"{name}.parquet").is_file()


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": digest,
    }


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path.name} is damaged, or no parquet file.") from error


def _records(name: str, schema: pa.Schema, *, of_set: bool = False) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": _ABOUT[name],
        "field": list(_fields(name, schema, "fileSet" if of_set else "fileObject")),
    }


def _fields(name: str, schema: pa.Schema, origin: str) -> Iterator[dict[str, Any]]:
    for place, field in enumerate(schema):
        many = pa.types.is_list(field.type) or pa.types.is_large_list(field.type)
        kind = _kind(field.type.value_type if many else field.type)
        if kind is None:  # pixels
            continue
        yield {
            "@type": "cr:Field",
            "@id": f"{name}/{field.name if _PLAIN.fullmatch(field.name) else f'~{place}'}",
            "name": field.name,
            "dataType": kind,
            **({"repeated": True} if many else {}),
            "source": {origin: {"@id": f"{name}.parquet"}, "extract": {"column": field.name}},
        }


def _kind(found: pa.DataType) -> str | None:
    if pa.types.is_dictionary(found):
        found = found.value_type
    tests = (
        (pa.types.is_boolean, "sc:Boolean"),
        (pa.types.is_integer, "sc:Integer"),
        (pa.types.is_floating, "sc:Float"),
        (pa.types.is_date, "sc:Date"),
        (pa.types.is_timestamp, "sc:DateTime"),
        (pa.types.is_time, "sc:Time"),
        (pa.types.is_string, "sc:Text"),
        (pa.types.is_large_string, "sc:Text"),
    )
    return next((kind for test, kind in tests if test(found)), None)
