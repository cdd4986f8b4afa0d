"""De-identification by PS3.15 Annex E: bytes in, bytes out; no network, no disk.

>>> from orthanc_research import deid
>>> key = deid.Key.parse("00" * 32)
>>> deid.Subject(patient_id="P001", days=-1000).days
-1000
"""

from ._engine import deidentify
from ._key import Key
from ._profile import Profile
from ._pseudonyms import accession_of, code_of, days_of, patient_id_of, uid_of
from ._subject import Deidentified, Subject
from .check import Check, Examined, Known, Verdict, conclude, examine

__all__ = [
    "Check",
    "Deidentified",
    "Examined",
    "Key",
    "Known",
    "Profile",
    "Subject",
    "Verdict",
    "accession_of",
    "code_of",
    "conclude",
    "days_of",
    "deidentify",
    "examine",
    "patient_id_of",
    "uid_of",
]
