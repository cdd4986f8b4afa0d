"""Files → stored values, where a decoder that crashes must not take the caller with it.

gdcm ends the process on some damaged JPEG files: its syntaxes go to worker processes, two at a time. The others did not
crash in any of our runs and stay on the caller's threads, where no file needs to be copied; but all of them hold the
interpreter lock, so that two cores decode JPEG 2000 in processes only, which pays where there are many files. See
docs/decisions/0011.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from pydicom.uid import UID

from orthanc_research.errors import PixelError
from orthanc_research.pixels import decode, decoded, needs_isolation, transfer_syntax
from orthanc_research.workers import NoWorkersError, WorkerDiedError, shared

__all__ = ["decode_isolated"]

# Far more than any file needs: no decoder is slower than this.
_SECONDS, _BYTES_A_SECOND = 60.0, 100_000.0


def decode_isolated(content: bytes, sop_uid: str = "", *, view: bool = False, many: bool = False) -> npt.NDArray[Any]:
    """As `pixels.decode` of a file's bytes; a decoder that crashes or does not end is a `PixelError`.

    The first call for JPEG starts a process, which takes about a second, and where `many` files are to come the first
    for JPEG 2000 as well. With `view` the array may be a read-only view of `content`, as that of `pixels.decoded`.
    """
    syntax = transfer_syntax(content)
    if not needs_isolation(syntax, many=many):
        return decoded(content, sop_uid) if view else decode(content, sop_uid)
    try:
        return shared().call(_SECONDS + len(content) / _BYTES_A_SECOND, decode, content, sop_uid)
    except NoWorkersError:
        return decode(content, sop_uid)
    except WorkerDiedError as error:
        name = f"SOP instance {sop_uid}" if sop_uid else "This instance"
        raise PixelError(
            f"{name}: its decoder crashed on the pixel data ({UID(syntax).name}), or did not end; they are damaged."
        ) from error
