"""The doctor's page in a real browser: it asks for nothing, fits a narrow screen, and can be read, dark and light."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from conftest import lacking

from exlab_store import Guarantees
from exlab_store.doctor import Claim, Examination, Finding, Latencies, Place
from exlab_store.doctor.histogram import histogram, scale_of
from exlab_store.doctor.page import report
from exlab_store.doctor.verdict import judge

pytestmark = pytest.mark.one_interpreter

_LONG = "smb://lab:***@nas01.a-department-with-a-long-name.institute.university.example:4455/instruments/exlab-wizard"
_GUARANTEES = Guarantees(
    atomic_replace=True,
    durable=True,
    conditional_write="locked",
    lock_scope="site",
    lock_release="crash",
    fenced=True,
    lists=True,
    deletes=True,
    fresh="always",
)

# Runs in the page: what overflows, what was fetched, and the contrast of every text with what is behind it.
_MEASURE = """
function channel(v) { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }
function luminance(c) { return 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]); }
function parts(text) { return text.match(/[\\d.]+/g).map(Number); }
function behind(e) {
  for (; e; e = e.parentElement) {
    const c = parts(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  }
  return [255, 255, 255];
}
function contrast(e) {
  const style = getComputedStyle(e), text = parts(e instanceof SVGElement ? style.fill : style.color);
  const [a, b] = [luminance(text), luminance(behind(e))];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}
const all = [...document.querySelectorAll('body *')];
const written = all.filter(e => e.tagName != 'title' && e.tagName != 'SCRIPT'
  && [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()));
const measured = {
  width: innerWidth,
  scrolled: document.documentElement.scrollWidth,
  overflowing: all.filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML.slice(0, 99)),
  fetched: performance.getEntriesByType('resource').map(e => e.name),
  faint: written.filter(e => contrast(e) < 4.5).map(e => e.outerHTML.slice(0, 99)),
  texts: written.length,
  ground: luminance(behind(document.body)),
  small: written.filter(e => !(e instanceof SVGElement) && parseFloat(getComputedStyle(e).fontSize) < 13).length,
};
const shown = parent.document.createElement('pre');
shown.id = 'measured';
shown.textContent = JSON.stringify(measured);
parent.document.body.append(shown);
"""


def _finding(outcome: Any, probe: str, places: tuple[int, ...] = (0,)) -> Finding:
    return Finding(
        probe=probe,
        title=f"Replaced while another program has it open ({probe})",
        places=places,
        outcome=outcome,
        observed="held by somebody@station-with-a-long-name.institute.university.example <script>alert(1)</script>",
        advice="On Samba set `socket options = TCP_NODELAY TCP_KEEPIDLE=5 TCP_KEEPINTVL=2 TCP_KEEPCNT=3`, then wait."
        if outcome in {"warn", "fail"}
        else "",
        seconds=0.1,
    )


@pytest.fixture(scope="module")
def examination() -> Examination:
    """One with everything that makes a page wide."""
    times = tuple(math.exp(number / 20) for number in range(200))
    measured = tuple(
        Latencies(name, tuple(value * slow for value in times)) for name, slow in (("write", 3), ("read", 1))
    )
    outcomes = ("pass", "warn", "fail", "not applicable")
    return Examination(
        at="2026-05-05T14:23:00Z",
        host="station-with-a-long-name.institute.university.example",
        seconds=12.3,
        places=(
            Place(_LONG, _GUARANTEES, measured, "exlab-store-doctor-0123456789abcdef"),
            Place("file:///mnt/" + "n" * 90, _GUARANTEES, measured[:1]),
        ),
        findings=tuple(
            _finding(outcome, f"probe-{number}", places)
            for places in ((0,), (1,), (0, 1))
            for number, outcome in enumerate(outcomes)
        ),
        claims=tuple(
            Claim(place, claim.guarantee, claim.claimed, seen, ("exclusion", "waiting", "fence"))
            for place in (0, 1)
            for claim, seen in zip(
                judge([_GUARANTEES], []),
                (
                    "held",
                    "plausible",
                    "doubtful",
                    "broken",
                    "not tested",
                    "not claimed",
                    "held",
                    "held",
                    "held",
                    "held",
                ),
                strict=True,
            )
        ),
    )


def _in_browser(page: str, folder: Path, width: int, *options: str) -> dict[str, Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        lacking("install Debian's package chromium: the page is looked at in a browser")
        raise AssertionError
    # The page forbids scripts; what measures it is the test's.
    allowed = re.sub(r"<meta http-equiv=[^>]*>", "", page)
    file = folder / "page.html"
    inner = html.escape(allowed.replace("</body>", f"<script>{_MEASURE}</script></body>"))
    # In a frame, as the browser makes no window that is as narrow as a phone.
    frame = f'<iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{inner}"></iframe>'
    file.write_text(f'<!DOCTYPE html><meta charset="utf-8"><body>{frame}</body>', encoding="utf-8")
    done = subprocess.run(
        [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        + [f"--user-data-dir={folder / 'profile'}", *options, "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'<pre id="measured">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr[-2000:]
    measured: dict[str, Any] = json.loads(html.unescape(found[1]))
    return measured


@pytest.mark.parametrize(("scheme", "dark"), [("0", True), ("1", False)], ids=["dark", "light"])
def test_on_400_pixels_nothing_sticks_out_and_every_text_can_be_read(
    examination: Examination, tmp_path: Path, scheme: str, dark: bool
) -> None:
    measured = _in_browser(report(examination), tmp_path, 400, f"--blink-settings=preferredColorScheme={scheme}")
    assert measured["width"] == 400
    assert measured["scrolled"] <= 400
    assert measured["overflowing"] == []
    assert measured["fetched"] == []
    assert measured["texts"] > 100
    assert measured["faint"] == []
    assert measured["small"] == 0
    assert (measured["ground"] < 0.05) is dark


def test_the_page_names_nothing_that_would_be_fetched_and_forbids_it(examination: Examination) -> None:
    page = report(examination)
    assert "default-src 'none'" in page
    assert not re.search(r"<(?:link|img|script|iframe|object|embed)\b|\bsrc=|\bhref=|url\(|@import", page)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_screen_reader_finds_its_way(examination: Examination) -> None:
    page = report(examination)
    assert '<html lang="en">' in page
    assert page.count("<h1>") == 1
    assert page.count("<caption>") == page.count("<table>") == 2
    assert 'scope="col"' in page
    assert 'scope="row"' in page
    # Outcomes are words and not only colours; each drawing has a name.
    for outcome in ("pass", "warn", "fail", "not applicable"):
        assert f"</span> {outcome}</p>" in page
    names = re.findall(r'<svg [^>]*role="img" aria-labelledby="([^"]+)"><title id="([^"]+)">([^<]+)</title>', page)
    assert len(names) == 3
    assert len({identifier for identifier, _, _ in names}) == 3
    assert all(reference == identifier and "median" in text for reference, identifier, text in names)


def test_a_histogram_counts_every_measurement_where_it_belongs() -> None:
    measured = Latencies("read", (1.0, 1.0, 1.0, 50.0, 99.0))
    assert scale_of([measured]) == (0, 2)
    drawing = ElementTree.fromstring(histogram(measured, (0, 2), "x"))
    bars = sorted((float(bar.attrib["x"]), float(bar.attrib["height"])) for bar in drawing if bar.get("class") == "bar")
    assert len(bars) == 3
    assert bars[0][0] < 10
    assert bars[0][1] == max(height for _, height in bars)
    assert bars[-1][0] > 300
    assert [tick.text for tick in drawing if tick.get("class") == "tick"] == [
        "1 ms",
        "10 ms",
        "100 ms",
        "median 1.0 ms",
    ]


@pytest.mark.parametrize("values", [(0.01,), (5.0, 5.0), (0.0, 3000.0)])
def test_a_histogram_can_be_made_of_anything(values: tuple[float, ...]) -> None:
    measured = Latencies("write", values)
    ElementTree.fromstring(histogram(measured, scale_of([measured]), "x"))
