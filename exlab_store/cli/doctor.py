"""``exlab-store doctor``: evidence that a place keeps what its backend claims."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from exlab_store import StoreError
from exlab_store.cli.ending import ended_in_order
from exlab_store.cli.exit_codes import ExitCode
from exlab_store.cli.joining import inviting
from exlab_store.cli.places import resolved
from exlab_store.cli.plain_text import one_line
from exlab_store.cli.progress import steps_shown
from exlab_store.cli.terminal import print_json, show
from exlab_store.doctor import Examination, Finding, examine
from exlab_store.doctor.wording import SEEN, place_of, sentence, shown_by, summary, value_of

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from rich.console import RenderableType
    from rich.table import Table

    from exlab_store.hidden_location import HiddenLocation

__all__ = ["run_doctor"]

_STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red", "not applicable": "dim"}
_STYLES_OF_CLAIMS = {"held": "green", "plausible": "green", "doubtful": "yellow", "broken": "bold red"}
_SHORT = {"not applicable": "n/a"}


def run_doctor(
    locations: Sequence[HiddenLocation],
    *,
    seconds: float,
    only: Sequence[str],
    page: Path | None,
    wait: float | None,
    as_json: bool,
) -> None:
    """Examines places and prints what was found.

    Args:
        locations: As typed.
        seconds: How long each kind of work goes on that is a matter of time.
        only: The names of the probes that are wanted; empty for all.
        page: Where a page with the report is written, or None.
        wait: Seconds that another machine has to join; None if none takes part.
        as_json: Print JSON.

    Raises:
        StoreError: A place cannot be examined, or the page cannot be written.
        SystemExit: A probe failed, or a claim did not hold.
    """
    with _reserved(page), ended_in_order(), steps_shown("Opening") as progress:
        examination = examine(
            [resolved(location) for location in locations],
            seconds=seconds,
            only=only,
            progress=progress,
            invited=None if wait is None else inviting(locations[0], wait, as_json=as_json),
            wait=wait or 0.0,
        )
    if page is not None:
        from exlab_store.doctor.page import report

        with _writing(page):
            page.write_text(report(examination), encoding="utf-8")
    if as_json:
        print_json(_answer(examination))
    else:
        show(*_rendered(examination, page))
    if examination.broken:
        raise SystemExit(ExitCode.CLAIM_BROKEN)
    if examination.failed:
        raise SystemExit(ExitCode.FAILED)


@contextmanager
def _reserved(page: Path | None) -> Generator[None]:
    """What cannot be written is known before the work is done; work that fails leaves no empty file."""
    new = page is not None and not page.exists()
    if page is not None:
        with _writing(page):
            page.open("ab").close()
    try:
        yield
    except BaseException:
        if page is not None and new:
            page.unlink(missing_ok=True)
        raise


@contextmanager
def _writing(page: Path) -> Generator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise StoreError(
            f"the report cannot be written: {getattr(error, 'strerror', None) or error}",
            location=str(page),
            hint="Give --report a file in a folder that can be written.",
        ) from error


def _answer(examination: Examination) -> dict[str, object]:
    locations = [place.location for place in examination.places]
    return {
        "at": examination.at,
        "host": examination.host,
        "machines": list(examination.machines),
        "seconds": round(examination.seconds, 3),
        "sound": not (examination.broken or examination.failed),
        "counts": {outcome: sum(finding.outcome == outcome for finding in examination.findings) for outcome in _STYLES},
        "places": [
            {
                "location": place.location,
                "machine": place.machine,
                "guarantees": msgspec.to_builtins(place.guarantees),
                "remains": place.remains or None,
                "latencies": [
                    {
                        "operation": each.operation,
                        "count": len(each.milliseconds),
                        "median_ms": round(each.median, 3),
                        "p99_ms": round(each.p99, 3),
                    }
                    for each in place.latencies
                ],
            }
            for place in examination.places
        ],
        "findings": [
            msgspec.to_builtins(finding) | {"places": [locations[number] for number in finding.places]}
            for finding in examination.findings
        ],
        "claims": [
            msgspec.to_builtins(claim) | {"place": locations[claim.place], "seen": SEEN[claim.seen]}
            for claim in examination.claims
        ],
    }


def _rendered(examination: Examination, page: Path | None) -> list[RenderableType]:
    from rich.text import Text

    parts: list[RenderableType] = []
    for places, group in itertools.groupby(examination.findings, key=lambda finding: finding.places):
        locations = " and ".join(place_of(examination, number) for number in places)
        parts += [Text(one_line(locations), style="bold"), _findings(list(group))]
    for number, place in enumerate(examination.places):
        if len(examination.places) > 1:
            parts.append(Text(f"What {one_line(place_of(examination, number))} claims", style="bold"))
        parts.append(_claims(examination, number))
        if place.remains:
            parts.append(Text(f"The folder {place.remains} stays at {one_line(place.location)}."))
    tone = "bold red" if examination.broken or examination.failed else "yellow" if examination.warned else "bold green"
    parts += [Text(one_line(said), style=tone) for said in summary(examination)]
    if page is not None:
        parts.append(Text(f"The report is in {one_line(str(page))}."))
    return parts


def _findings(findings: Sequence[Finding]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Probe", max_width=24)
    table.add_column("", no_wrap=True)
    table.add_column("Observed", overflow="fold", min_width=30)
    for finding in findings:
        text = Text(one_line(sentence(finding.observed)))
        if finding.advice:
            text.append(f"\n{one_line(finding.advice)}", style="italic")
        outcome = _SHORT.get(finding.outcome, finding.outcome)
        table.add_row(Text(finding.title), Text(outcome, style=_STYLES[finding.outcome]), text)
    return table


def _claims(examination: Examination, number: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("Guarantee", "Claimed", "Seen", "By"):
        table.add_column(heading, overflow="fold")
    for claim in examination.claims:
        if claim.place == number:
            table.add_row(
                Text(claim.guarantee),
                Text(value_of(claim.claimed)),
                Text(SEEN[claim.seen], style=_STYLES_OF_CLAIMS.get(claim.seen, "dim")),
                Text(shown_by(claim)),
            )
    return table
