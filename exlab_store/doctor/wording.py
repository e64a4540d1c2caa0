"""The words for findings, for the terminal and the page alike."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exlab_store.doctor.examination import Examination
    from exlab_store.doctor.verdict import Claim, Judged

__all__ = ["SEEN", "sentence", "summary", "value_of"]

# A word of English, and no key, path, setting or version.
_WORD = re.compile(r"[a-z]+(?![^\s,;:.!?')]|[:.]\S)")

SEEN: dict[Judged, str] = {
    "held": "held",
    "plausible": "plausible",
    "doubtful": "doubtful",
    "broken": "did not hold",
    "not tested": "not tested",
    "not claimed": "not claimed",
}


def value_of(claimed: bool | str) -> str:
    """A guarantee's value, for people.

    Args:
        claimed: The value, as the backend claims it.
    """
    if isinstance(claimed, str):
        return claimed
    return "yes" if claimed else "no"


def place_of(examination: Examination, number: int) -> str:
    """A location, and on which machine if there were two.

    Args:
        examination: What was found.
        number: The place's, from 0.
    """
    place = examination.places[number]
    return f"{place.location} on {place.machine}" if _is_of_two(examination) else place.location


def shown_by(claim: Claim) -> str:
    """The probes that say what was seen of a claim; marked, where they say so of two machines.

    Args:
        claim: The claim.
    """
    return ", ".join(f"{probe} (two machines)" if probe in claim.between_machines else probe for probe in claim.probes)


def _is_of_two(examination: Examination) -> bool:
    return len(examination.machines) > 1


def sentence(text: str) -> str:
    """A clause as a sentence. A name at its beginning stays as it is: ``equipment.json`` and ``Equipment.json`` differ.

    Args:
        text: Without its full stop.
    """
    first = text[:1].upper() if _WORD.match(text) else text[:1]
    return first + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def summary(examination: Examination) -> list[str]:
    """The result, in sentences.

    Args:
        examination: What was found.
    """
    several = len(examination.places) > 1
    said: list[str] = []
    for claim in examination.broken:
        at = f" of {place_of(examination, claim.place)}" if several else ""
        said.append(f"The claim {claim.guarantee} = {value_of(claim.claimed)}{at} did not hold.")
    if examination.failed:
        titles = dict.fromkeys(finding.title for finding in examination.failed)
        said.append(f"{_counted(len(examination.failed), 'probe')} failed: {'; '.join(titles)}.")
    if examination.warned:
        titles = dict.fromkeys(finding.title for finding in examination.warned)
        said.append(f"{_counted(len(examination.warned), 'warning')}: {'; '.join(titles)}.")
    if not said:
        passed = sum(finding.outcome == "pass" for finding in examination.findings)
        said.append(f"All is well: {_counted(passed, 'probe')} passed, and every claim that was tested held.")
    return said + _between(examination)


def _between(examination: Examination) -> list[str]:
    """What two machines have shown, and what was only seen on one."""
    if not _is_of_two(examination):
        return []
    passed = {each.title: len(each.places) > 1 for each in examination.findings if each.outcome == "pass"}
    shown = [title for title, of_two in passed.items() if of_two]
    first, other = (place.machine for place in examination.places)
    if not shown:
        return [f"{first} and {other} took part; nothing was shown between them."]
    return [f"Shown between {first} and {other}: {'; '.join(shown)}. The other probes saw {first} alone."]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
