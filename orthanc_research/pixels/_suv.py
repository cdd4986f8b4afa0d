"""SUV by body weight: what a PET header says about it, and the factor that follows.

The rules are those of the QIBA PET/CT profile (vendor-neutral SUV computation) and PS3.3 C.8.9.1; wherever a header
leaves room for two answers, there is no answer but a reason.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orthanc_research.errors import PixelError

from ._header import Header, number, text, texts

__all__ = ["SuvFacts", "suv_factor", "suv_facts"]

_LONGEST = 10.0  # half-lives between injection and scan; what is left after that (0.1 %) gives no PET image
_ACROSS = 5.0  # half-lives, where the day before is a guess: a clock that is wrong by minutes would give 24 hours
_SAME_DAY = 12 * 3600.0  # s; a tracer that lives longer is also scanned on later days, which a time alone cannot tell
_DAY = 86400.0
_TIME = re.compile(r"(\d{2}):?(\d{2}):?(\d{2})(\.\d{1,6})?", re.ASCII)
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})", re.ASCII)
_DATE_TIME = re.compile(r"(\d{8})(\d{6}(?:\.\d{1,6})?)([+-]\d{4})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SuvFacts:
    """What the header of one PET frame says about SUV; None or "" is absent, NaN is there and no number.

    Dates and times are as DICOM writes them. kg, Bq, s; `frame_reference_time` and `frame_duration` in ms. The `repr`
    shows none of it: weights and dates are the patient's.
    """

    units: str
    suv_type: str
    corrected: tuple[str, ...]
    decay_correction: str
    weight: float | None
    tracers: int
    dose: float | None
    half_life: float | None
    start: str
    start_time: str
    series: tuple[str, str]
    acquisition: tuple[str, str]
    ge_scan: str
    frame_reference_time: float | None
    frame_duration: float | None
    timezone: str
    philips_suv: float | None
    philips_activity: float | None

    def __repr__(self) -> str:
        return f"<SuvFacts {self.units or 'no units'}>"


def suv_facts(header: Header) -> SuvFacts | None:
    """What a PET header says about SUV; None for what is not PET."""
    if text(header, "0008,0060") != "PT":
        return None
    sequence = header.get("0054,0016")
    items = [item for item in sequence if isinstance(item, dict)] if isinstance(sequence, list | tuple) else []
    tracer: Header = items[0] if items else {}
    philips = text(header, "7053,0010") == "Philips PET Private Group"
    return SuvFacts(
        units=text(header, "0054,1001"),
        suv_type=text(header, "0054,1006"),
        corrected=texts(header, "0028,0051"),
        decay_correction=text(header, "0054,1102"),
        weight=number(header, "0010,1030"),
        tracers=len(items),
        dose=number(tracer, "0018,1074"),
        half_life=number(tracer, "0018,1075"),
        start=text(tracer, "0018,1078"),
        start_time=text(tracer, "0018,1072"),
        series=(text(header, "0008,0021"), text(header, "0008,0031")),
        acquisition=(text(header, "0008,0022"), text(header, "0008,0032")),
        ge_scan=text(header, "0009,100d") if text(header, "0009,0010") == "GEMS_PETD_01" else "",
        frame_reference_time=number(header, "0054,1300"),
        frame_duration=number(header, "0018,1242"),
        timezone=text(header, "0008,0201"),
        philips_suv=number(header, "7053,1000") if philips else None,
        philips_activity=number(header, "7053,1009") if philips else None,
    )


def suv_factor(facts: SuvFacts) -> tuple[float, tuple[str, ...]]:
    """(g/ml for one unit of the rescaled values, notes); SUVbw = (stored x slope + intercept) x factor.

    `PixelError` says which fact is absent or cannot be right.
    """
    _check_corrections(facts)
    if facts.units == "GML":
        if facts.suv_type not in ("", "BW"):
            raise PixelError(f"Its values are SUV by {_word(facts.suv_type)}, not by body weight.")
        return 1.0, () if facts.suv_type else ("Units are GML and SUVType is absent, which means SUV by body weight.",)
    if facts.units == "CNTS":
        if _positive(facts.philips_suv):
            return float(facts.philips_suv or 0), ("SUV by the factor that Philips wrote (7053,1000).",)
        if not _positive(facts.philips_activity):
            raise PixelError("Its units are counts, and there is no factor of Philips (7053,1000 or 7053,1009) in it.")
        factor, notes = _by_dose(facts)
        said = "Counts were made Bq/ml by the factor that Philips wrote (7053,1009)."
        return factor * float(facts.philips_activity or 0), (*notes, said)
    if facts.units != "BQML":
        raise PixelError(f"SUV needs values in Bq/ml; Units are {_word(facts.units) if facts.units else 'absent'}.")
    return _by_dose(facts)


def _check_corrections(facts: SuvFacts) -> None:
    lacking = [name for name in ("ATTN", "DECY") if name not in facts.corrected]
    if lacking:
        raise PixelError(f"CorrectedImage does not contain {' and '.join(lacking)}.")
    if facts.decay_correction not in ("START", "ADMIN"):
        raise PixelError("DecayCorrection is neither START nor ADMIN.")


def _by_dose(facts: SuvFacts) -> tuple[float, tuple[str, ...]]:
    if facts.tracers != 1:
        raise PixelError(f"RadiopharmaceuticalInformationSequence has {facts.tracers} items; SUV needs one tracer.")
    weight = _within(facts.weight, "PatientWeight", 1e-3, 650.0, "kg")
    dose = _within(facts.dose, "RadionuclideTotalDose", 1e5, 1e11, "Bq")
    half_life = _within(facts.half_life, "RadionuclideHalfLife", 10.0, 1e7, "s")
    if facts.decay_correction == "ADMIN":
        return weight * 1000.0 / dose, ()
    seconds, notes = _seconds_from_injection(facts, half_life)
    return weight * 1000.0 / (dose * 2.0 ** (-seconds / half_life)), notes


def _within(value: float | None, keyword: str, low: float, high: float, unit: str) -> float:
    """A value in another unit (MBq, g, minutes) is the usual mistake, and would be off by a thousand."""
    if value is None:
        raise PixelError(f"{keyword} is absent.")
    if not low <= value <= high:
        raise PixelError(f"{keyword} cannot be right: it is not within {low:g} to {high:g} {unit}.")
    return value


def _seconds_from_injection(facts: SuvFacts, half_life: float) -> tuple[float, tuple[str, ...]]:
    """From injection to the time that START refers to; with a note when it took more than plain reading."""
    scan, notes = _scan_start(facts, half_life)
    if facts.start:
        seconds = (scan - _local(facts.start, facts.timezone)).total_seconds()
        if 0 <= seconds <= _LONGEST * half_life:
            return seconds, notes
        if not facts.start_time:
            raise PixelError("RadiopharmaceuticalStartDateTime does not fit the time of the scan.")
        # Tools that shift dates forget this one: seen a day late in the STS collection of TCIA.
        notes = (*notes, "The date of the injection does not fit the scan's; only its time of day was used.")
    injected = _seconds_of_day(facts.start_time)
    if injected is None:
        raise PixelError("RadiopharmaceuticalStartTime is absent or no time.")
    if half_life > _SAME_DAY:
        raise PixelError("The day of the injection is unknown, and this tracer is also scanned on later days.")
    seconds = scan.hour * 3600.0 + scan.minute * 60.0 + scan.second + scan.microsecond * 1e-6 - injected
    if seconds < 0:
        seconds += _DAY
        if seconds > min(_ACROSS * half_life, _SAME_DAY):
            raise PixelError("The scan lies before the injection, and too late after midnight for the day before.")
        notes = (*notes, "The injection was taken to be before midnight, the scan after it.")
    if seconds > _LONGEST * half_life:
        raise PixelError(f"The scan is more than {_LONGEST:g} half-lives after the injection, or before it.")
    return seconds, notes


def _scan_start(facts: SuvFacts, half_life: float) -> tuple[datetime, tuple[str, ...]]:
    """The time that decay was corrected to: the series' own, unless the series was written later (QIBA)."""
    acquired = _moment(*facts.acquisition)
    series = _moment(*facts.series)
    if acquired is None:
        raise PixelError("AcquisitionDate and AcquisitionTime are absent or no time.")
    if series is not None and series <= acquired:
        return series, ()
    if facts.ge_scan:
        return _local(facts.ge_scan, facts.timezone), (
            "The series is later than the acquisition; GE's scan time was used.",
        )
    reference, duration = facts.frame_reference_time, facts.frame_duration
    if not (_positive(reference) and _positive(duration)):
        raise PixelError(
            "The series is later than the acquisition, and FrameReferenceTime or ActualFrameDuration is absent."
        )
    decayed = math.log(2) / half_life * float(duration or 0) / 1000.0
    average = half_life / math.log(2) * math.log(decayed / -math.expm1(-decayed))
    start = acquired + timedelta(seconds=average - float(reference or 0) / 1000.0)
    return start, ("The series is later than the acquisition; the scan's start was computed from FrameReferenceTime.",)


def _positive(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _seconds_of_day(value: str) -> float | None:
    found = _TIME.fullmatch(value)
    if not found:
        return None
    hours, minutes, seconds = (int(found[i]) for i in (1, 2, 3))
    return hours * 3600.0 + minutes * 60.0 + seconds + float(found[4] or 0) if hours < 24 and minutes < 60 else None


def _moment(date: str, time: str) -> datetime | None:
    """On the clock of the header, whatever its zone: only differences are taken."""
    day, seconds = _DATE.fullmatch(date), _seconds_of_day(time)
    if not day or seconds is None:
        return None
    try:
        return datetime(int(day[1]), int(day[2]), int(day[3]), tzinfo=UTC) + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        return None


def _local(value: str, timezone: str) -> datetime:
    """A DT (PS3.5 section 6.2) on the clock of the header's other times."""
    found = _DATE_TIME.fullmatch(value)
    moment = _moment(found[1], found[2]) if found else None
    if found is None or moment is None:
        raise PixelError("RadiopharmaceuticalStartDateTime or the scan's is no date with a time.")
    if not found[3] or found[3] == timezone:
        return moment
    if not timezone:
        raise PixelError("The injection's time names its time zone and the scan's does not.")
    return moment - _offset(found[3]) + _offset(timezone)


def _offset(zone: str) -> timedelta:
    found = re.fullmatch(r"([+-])(\d{2})(\d{2})", zone, re.ASCII)
    if not found:
        raise PixelError("TimezoneOffsetFromUTC is no offset.")
    return (-1 if found[1] == "-" else 1) * timedelta(hours=int(found[2]), minutes=int(found[3]))


def _word(value: str) -> str:
    """A code string as a message may show it; what is no code string is not repeated."""
    return value if re.fullmatch(r"[A-Z0-9_]{1,16}", value) else "something unknown"
