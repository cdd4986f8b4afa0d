"""What tells bytes apart, as "algorithm:hex".

An Orthanc keeps MD5. Of files it is SHA-256, for which processors have instructions.
"""

from __future__ import annotations

import hashlib
from typing import Literal, cast

__all__ = ["Algorithm", "digest_of", "fits"]

Algorithm = Literal["md5", "sha256"]


def digest_of(content: bytes, algorithm: Algorithm) -> str:
    """Of these bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()}"


def fits(content: bytes, digest: str) -> bool:
    """Whether these bytes have it."""
    return digest_of(content, cast(Algorithm, digest.partition(":")[0])) == digest
