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

__all__ = [
    "Deidentified",
    "Key",
    "Profile",
    "Subject",
    "accession_of",
    "code_of",
    "days_of",
    "deidentify",
    "patient_id_of",
    "uid_of",
]
