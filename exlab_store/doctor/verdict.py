"""The verdict on each claim of a backend, by the findings of the probes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from exlab_store.guarantees import Guarantees

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from exlab_store.doctor.findings import Seen

__all__ = ["Claim", "Evidence", "Judged", "blamed", "judge"]

Judged: TypeAlias = Literal["held", "plausible", "doubtful", "broken", "not tested", "not claimed"]

# Of several the first counts.
_ORDER: tuple[Seen, ...] = ("broken", "doubtful", "held", "plausible")
_OF_LOCKS = frozenset({"lock_scope", "conditional_write"})


class Evidence(msgspec.Struct, frozen=True):
    """What one probe says of one claim.

    Attributes:
        place: The place's number, from 0.
        guarantee: The name of the field of `Guarantees`.
        seen: What was seen.
        probe: By which probe.
        between_machines: Whether two machines took part.
    """

    place: int
    guarantee: str
    seen: Seen
    probe: str
    between_machines: bool = False


class Claim(msgspec.Struct, frozen=True):
    """A guarantee of one place, and what all probes say of it.

    Attributes:
        place: The place's number, from 0.
        guarantee: The name of the field of `Guarantees`.
        claimed: What the backend says.
        seen: ``broken``: it did not hold. ``held``: it was put to the test. ``plausible`` and ``doubtful``: signs
            speak for it, or against it.
        probes: Which say so.
        between_machines: Those of them that say so of two machines, and not of two processes of one.
    """

    place: int
    guarantee: str
    claimed: bool | str
    seen: Judged
    probes: tuple[str, ...]
    between_machines: tuple[str, ...] = ()


def blamed(
    guarantee: str, seen: Seen, claims: Sequence[tuple[int, Guarantees]], *, between_machines: bool = False
) -> list[int]:
    """Whose claim it is that was put to the test.

    A lock that excludes the processes of a host need not exclude those who come another way: if two places do not
    exclude each other, it is the one that claims more that has not kept its word.

    Args:
        guarantee: The name of the field.
        seen: What was seen.
        claims: The places, by their numbers, and what they claim.
        between_machines: Whether the places are of two machines. What holds on a host is not claimed there.

    Returns:
        The numbers of the places.
    """
    if guarantee in _OF_LOCKS and between_machines:
        return [number for number, its in claims if its.lock_scope == "site" and _is_claimed(getattr(its, guarantee))]
    if seen == "broken" and guarantee in _OF_LOCKS and len(claims) > 1:
        return [
            number
            for number, its in claims
            if not its.shortfalls(
                Guarantees.at_least(lock_scope=max((each.lock_scope for _, each in claims), key=_strength))
            )
        ]
    return [number for number, its in claims if _is_claimed(getattr(its, guarantee))]


def judge(claimed: Sequence[Guarantees], evidence: Iterable[Evidence]) -> tuple[Claim, ...]:
    """Weighs what was seen, claim by claim.

    Args:
        claimed: What each place claims.
        evidence: All that was seen.
    """
    found = list(evidence)
    claims: list[Claim] = []
    for place, guarantees in enumerate(claimed):
        for guarantee in guarantees.__struct_fields__:
            value: bool | str = getattr(guarantees, guarantee)
            about = [each for each in found if (each.place, each.guarantee) == (place, guarantee)]
            judged: Judged = "not claimed" if not _is_claimed(value) else _weighed(about)
            saying = [each for each in about if each.seen == judged]
            probes = tuple(dict.fromkeys(each.probe for each in saying))
            between = tuple(dict.fromkeys(each.probe for each in saying if each.between_machines))
            claims.append(Claim(place, guarantee, value, judged, probes, between))
    return tuple(claims)


def _weighed(about: list[Evidence]) -> Judged:
    for kind in _ORDER:
        if any(each.seen == kind for each in about):
            return kind
    return "not tested"


def _is_claimed(value: bool | str) -> bool:
    return value not in {False, "none", "explicit"}


def _strength(scope: str) -> int:
    return ("none", "process", "host", "site").index(scope)
