"""Whether a de-identified file is what was promised: a second reading of the standard, beside the engine's.

Nothing here knows the engine; of the package above it only the profile and the subject, for their types.
"""

from ._examine import examine
from ._examined import Check, Examined
from ._known import Known
from ._verdict import Verdict, conclude

__all__ = ["Check", "Examined", "Known", "Verdict", "conclude", "examine"]
