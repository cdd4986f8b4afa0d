"""A data set as the bytes of its file."""

from __future__ import annotations

import io

from pydicom import Dataset, dcmwrite


def as_file(dataset: Dataset) -> bytes:
    """With a preamble and its meta information."""
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()
