"""The report as one page: self-contained, for light and dark screens, from the width of a phone on."""

from __future__ import annotations

import itertools
import re
from html import escape
from typing import TYPE_CHECKING

from exlab_store.doctor.histogram import histogram, scale_of
from exlab_store.doctor.reaching import duration
from exlab_store.doctor.wording import SEEN, place_of, sentence, shown_by, summary, value_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exlab_store.doctor.examination import Examination, Place
    from exlab_store.doctor.findings import Finding

__all__ = ["report"]

_STYLE = """
:root { color-scheme: light dark; --ground: #fbfbfa; --card: #fff; --text: #1d2328; --dim: #5b656e; --line: #dcdfe2;
  --pass: #1a7344; --warn: #8a5a00; --fail: #b3261e; --none: #5b656e; --bar: #4a7fb5; --median: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ground: #14181b; --card: #1c2226; --text: #e4e8eb; --dim: #a0abb4;
  --line: #363e45; --pass: #62c58d; --warn: #e2b04a; --fail: #ff8a80; --none: #a0abb4; --bar: #6fa3d8;
  --median: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; line-height: 1.3; margin: 2.25rem 0 .75rem; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 0; font-weight: 600; }
p { margin: .25rem 0; }
code { font: .875em/1.4 ui-monospace, monospace; overflow-wrap: break-word; }
.dim, figcaption { color: var(--dim); font-size: .875rem; }
.verdict { border-left: .3rem solid var(--tone); background: var(--card); padding: .75rem 1rem; margin: 1rem 0;
  font-weight: 600; overflow-wrap: anywhere; }
.pass { --tone: var(--pass); } .warn { --tone: var(--warn); } .fail { --tone: var(--fail); }
.none { --tone: var(--none); }
.mark { color: var(--tone); font-weight: 600; white-space: nowrap; }
table { width: 100%; border-collapse: collapse; background: var(--card); margin: 0 0 1.25rem; }
caption { text-align: left; padding: 0 0 .4rem; color: var(--dim); font-size: .875rem; overflow-wrap: anywhere; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border: 1px solid var(--line); }
th { font-weight: 600; } tbody th { font-weight: 400; }
ul.findings { list-style: none; margin: 0; padding: 0; border: 1px solid var(--line); background: var(--card); }
ul.findings li { padding: .6rem .8rem; display: grid; grid-template-columns: 9.5rem 1fr; gap: 0 1rem; }
ul.findings li + li { border-top: 1px solid var(--line); }
ul.findings p { overflow-wrap: anywhere; }
.advice { border-left: .2rem solid var(--tone); padding-left: .6rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 1rem; margin: 0 0 1rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); padding: .6rem .8rem; }
svg { display: block; width: 100%; height: auto; }
.bar { fill: var(--bar); } .axis { stroke: var(--dim); stroke-width: 1; }
.median { stroke: var(--median); stroke-width: 1.5; stroke-dasharray: 3 2; }
.tick { fill: var(--dim); font-size: 11px; }
@media (max-width: 36rem) { ul.findings li { grid-template-columns: 1fr; gap: 0; } th, td { padding: .35rem .4rem; } }
@media print { :root { color-scheme: light; } }
"""

_TONES = {"pass": "pass", "warn": "warn", "fail": "fail", "not applicable": "none"}
_SIGNS = {"pass": "\u2713", "warn": "!", "fail": "\u2717", "not applicable": "\u2013"}
_TONES_OF_CLAIMS = {"held": "pass", "plausible": "pass", "doubtful": "warn", "broken": "fail"}
_CODE = re.compile(r"`([^`]+)`")


def report(examination: Examination) -> str:
    """Makes the page.

    Args:
        examination: What was found.

    Returns:
        HTML that asks for nothing from anywhere.
    """
    tone = "fail" if examination.broken or examination.failed else "warn" if examination.warned else "pass"
    several = len(examination.places) > 1
    when = f'<time datetime="{examination.at}">{examination.at.replace("T", " ").replace("Z", " UTC")}</time>'
    said = "".join(f"<p>{_text(each)}</p>" for each in summary(examination))
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Nothing is fetched, whatever a text in the page looks like.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{'Stores' if several else 'A store'} examined: {escape(examination.places[0].location)}</title>",
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<header>",
        f"<h1>{'Stores' if several else 'A store'}, examined</h1>",
        f'<p class="dim">From {escape(" and ".join(examination.machines))}, {when}, in {examination.seconds:.0f} s</p>',
        f'<div class="verdict {tone}">{said}</div>\n</header>',
        "<section>\n<h2>What is claimed, and what was seen</h2>",
        *(_claims(examination, number) for number in range(len(examination.places))),
        "</section>",
    ]
    for places, group in itertools.groupby(examination.findings, key=lambda finding: finding.places):
        parts.append(_section(examination, places, list(group)))
    parts.append("</main>\n</body>\n</html>\n")
    return "\n".join(parts)


def _claims(examination: Examination, number: int) -> str:
    rows: list[str] = []
    for claim in examination.claims:
        if claim.place != number:
            continue
        by = f' <span class="dim">({escape(shown_by(claim))})</span>' if claim.probes else ""
        tone = _TONES_OF_CLAIMS.get(claim.seen, "none")
        name = claim.guarantee.replace("_", "_<wbr>")
        rows.append(
            f'<tr><th scope="row"><code>{name}</code></th><td>{value_of(claim.claimed)}</td>'
            f'<td class="{tone}"><span class="mark">{SEEN[claim.seen]}</span>{by}</td></tr>'
        )
    return (
        f"<table>\n<caption>{escape(place_of(examination, number))}</caption>\n<thead><tr>"
        '<th scope="col">Guarantee</th><th scope="col">Claimed</th><th scope="col">Seen</th></tr></thead>\n'
        f"<tbody>{''.join(rows)}</tbody>\n</table>"
    )


def _section(examination: Examination, places: tuple[int, ...], findings: Iterable[Finding]) -> str:
    locations = " and ".join(place_of(examination, number) for number in places)
    charts = _charts(examination.places[places[0]], places[0]) if len(places) == 1 else ""
    remains = "".join(
        f'<p class="dim">The folder {escape(examination.places[number].remains)} stays there.</p>'
        for number in places
        if len(places) == 1 and examination.places[number].remains
    )
    items = "".join(map(_finding, findings))
    return f'<section>\n<h2>{escape(locations)}</h2>\n{charts}<ul class="findings">{items}</ul>\n{remains}</section>'


def _charts(place: Place, number: int) -> str:
    if not place.latencies:
        return ""
    scale = scale_of(place.latencies)
    figures = "".join(
        f"<figure>{histogram(each, scale, f'latencies-{number}-{escape(each.operation)}')}"
        f"<figcaption><strong>{escape(each.operation)}</strong>, {len(each.milliseconds)} times: "
        f"99 % within {duration(each.p99)}</figcaption></figure>"
        for each in place.latencies
    )
    return f'<div class="charts">{figures}</div>\n'


def _finding(finding: Finding) -> str:
    tone = _TONES[finding.outcome]
    advice = f'<p class="advice {tone}">{_text(finding.advice)}</p>' if finding.advice else ""
    return (
        f'<li class="{tone}"><p class="mark"><span aria-hidden="true">{_SIGNS[finding.outcome]}</span> '
        f"{finding.outcome}</p><div><h3>{escape(finding.title)}</h3><p>{_text(sentence(finding.observed))}</p>{advice}"
        "</div></li>"
    )


def _text(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))
