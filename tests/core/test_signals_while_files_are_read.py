"""What a signal handler raises while a configuration or a password is read is passed on as it is."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from exlab_store.opening.configuration import Configuration, find_configuration
from exlab_store.opening.secrets import SecretSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType


class TimeUp(OSError):
    """The program's own."""


def _time_is_up(number: int, frame: FrameType | None) -> None:
    raise TimeUp("my time is over")


@pytest.mark.parametrize("call", ["open", "fstat", "read", "close", "stat", "getcwd"])
@pytest.mark.parametrize(
    "reading",
    [
        Configuration.read,
        lambda path: SecretSource(file=str(path)).fetch(None),
        lambda path: SecretSource(file=str(path)).warning,
        lambda _: find_configuration(),
    ],
)
def test_a_strike_during_a_system_call_comes_out(
    reading: Callable[[Path], object], call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "exlab-store.toml"
    file.write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EXLAB_STORE_CONFIG", raising=False)
    before = signal.signal(signal.SIGALRM, _time_is_up)
    real = getattr(os, call)
    struck: list[str] = []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if args[:1] == (str(tmp_path),):
            return real(*args, **kwargs)
        result = real(*args, **kwargs)
        struck.append(call)
        signal.raise_signal(signal.SIGALRM)
        return result

    raised: BaseException | None = None
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, call, interrupted)
            try:
                reading(file)
            except Exception as error:
                raised = error
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not struck or type(raised) is TimeUp
