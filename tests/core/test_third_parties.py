"""Backends of third parties, in distributions that are really built and installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DISTRIBUTIONS = Path(__file__).parents[1] / "distributions"


def _install(target: Path, *names: str) -> Path:
    for name in names:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
        subprocess.run(
            [*command, "--upgrade", "--target", str(target), str(DISTRIBUTIONS / name)], check=True, capture_output=True
        )
    return target


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the toy and, beside it, the broken one are installed."""
    return _install(tmp_path_factory.mktemp("site"), "toy", "broken")


@pytest.fixture(scope="module")
def crowded_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two distributions serve one scheme."""
    return _install(tmp_path_factory.mktemp("crowded"), "toy", "rival")


def _run(site: Path, program: str) -> dict[str, str]:
    """Runs a program that fills a dictionary named ``found`` with text, where the distributions are installed."""
    lines = ["import json", "from exlab_store import *", "found = {}", program, "print(json.dumps(found))"]
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, str] = json.loads(result.stdout)
    return answer


def _error_of(site: Path, location: str) -> dict[str, str]:
    return _run(
        site,
        f"try:\n    open_store({location!r})\n"
        "except StoreError as error:\n    found = {'code': error.code, 'text': str(error)}",
    )


def test_an_installed_third_party_backend_opens_by_its_scheme(site: Path) -> None:
    program = (
        "store = open_store('toy://box')\n"
        "store.atomic_write('a', b'1')\n"
        "found['a'] = store.read_snapshot('a').data.decode()"
    )
    assert _run(site, program) == {"a": "1"}


def test_what_a_third_party_does_not_claim_raises_not_supported(site: Path) -> None:
    program = (
        "store = open_store('toy://box')\n"
        "calls = {'lock': lambda: store.lock('a'), 'list': store.list_keys, 'delete': lambda: store.delete('a'),\n"
        "         'expect': lambda: store.atomic_write('a', b'', expect=ABSENT)}\n"
        "for name, call in calls.items():\n"
        "    try: call()\n"
        "    except StoreError as error: found[name] = error.code"
    )
    assert _run(site, program) == dict.fromkeys(["lock", "list", "delete", "expect"], "not_supported")


def test_a_broken_backend_names_its_distribution_and_the_cause(site: Path) -> None:
    error = _error_of(site, "broken://x")
    assert error["code"] == "plugin_error"
    assert "exlab-store-broken" in error["text"]
    assert "a_library_that_nobody_has" in error["text"]


def test_a_broken_backend_does_not_disturb_another_scheme(site: Path) -> None:
    program = "found['ok'] = ' '.join(type(open_store(url)).__name__ for url in ('memory://', 'toy://x'))"
    assert _run(site, program) == {"ok": "Store Store"}


def test_an_unknown_scheme_names_the_installed_ones(site: Path) -> None:
    error = _error_of(site, "tape://x")
    assert error["code"] == "unknown_scheme"
    assert "broken, cifs, file, fsspec+*, memory, postgres, postgresql, s3, sftp, smb, toy" in error["text"]


def test_two_distributions_with_one_scheme_are_an_error_that_names_both(crowded_site: Path) -> None:
    error = _error_of(crowded_site, "toy://x")
    assert error["code"] == "plugin_error"
    assert "exlab-store-rival and exlab-store-toy" in error["text"]


def test_the_list_of_backends_has_the_broken_one_with_its_fault(site: Path) -> None:
    program = (
        "for backend in installed_backends():\n"
        "    found[backend.scheme] = f'{backend.distribution} {backend.version} {backend.fault}'"
    )
    found = _run(site, program)
    assert found["toy"] == "exlab-store-toy 0.3.0 None"
    assert found["broken"].startswith("exlab-store-broken 0.3.0 ")
    assert "a_library_that_nobody_has" in found["broken"]


def test_the_list_of_backends_says_that_two_serve_one_scheme(crowded_site: Path) -> None:
    program = "found['toy'] = ' '.join(str(b.fault) for b in installed_backends() if b.scheme == 'toy')"
    assert _run(crowded_site, program)["toy"].count("more than one distribution") == 2


WITHOUT_FSSPEC = "import sys; sys.modules['fsspec'] = None\n"


def test_a_scheme_whose_extra_is_not_installed_names_the_extra(site: Path) -> None:
    program = WITHOUT_FSSPEC + (
        "try: open_store('smb://nas/lab')\nexcept StoreError as error: found.update(code=error.code, text=str(error))"
    )
    error = _run(site, program)
    assert error["code"] == "unknown_scheme"
    assert "pip install 'exlab-store[smb]'" in error["text"]


def test_the_list_of_backends_tells_a_missing_extra_from_a_fault(site: Path) -> None:
    program = WITHOUT_FSSPEC + (
        "for backend in installed_backends():\n    found[backend.scheme] = f'{backend.fault} {backend.missing_extra}'"
    )
    assert _run(site, program)["smb"] == "None exlab-store[smb]"
