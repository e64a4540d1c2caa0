"""What is a location in a shell, on Windows or in a file manager is refused with what to write instead."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from exlab_store import Location, LocationError, UnknownScheme, as_document, open_store
from exlab_store.cli.places import resolved

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(os.name == "nt", reason="about locations of other systems than this one")

MEANT = {
    "//nas01/lab/exlab": "smb://nas01/lab/exlab",
    "//nas01": "smb://nas01",
    r"\\nas01\lab\exlab": "smb://nas01/lab/exlab",
    r"\\?\UNC\nas01\lab": "smb://nas01/lab",
    "//?/UNC/nas01/lab": "smb://nas01/lab",
    r"\\?\Z:\lab": "mounted on this machine",
    r"\\.\pipe\lab": "smb://server/share/folder",
    "//nas01:445/lab": "smb://server/share/folder",
    "//nas01/100% #1": "smb://nas01/100%25 %231",
    r"Z:\lab\exlab": "mounted on this machine",
    "Z:/lab": "mounted on this machine",
    "C:": "mounted on this machine",
    "~/lab": "expanduser",
    "~ada/lab": "expanduser",
    "~": "expanduser",
}


def hint_of(call: Callable[[], object]) -> str:
    with pytest.raises(LocationError) as caught:
        call()
    return str(caught.value.hint)


@pytest.mark.parametrize(("text", "says"), MEANT.items(), ids=MEANT)
def test_it_is_refused_with_what_to_write_instead(text: str, says: str) -> None:
    assert says in hint_of(lambda: open_store(text))


@pytest.mark.parametrize(("text", "says"), MEANT.items(), ids=MEANT)
def test_and_so_it_is_as_a_path_object(text: str, says: str) -> None:
    assert says in hint_of(lambda: open_store(PurePosixPath(text)))


@pytest.mark.parametrize(("text", "says"), MEANT.items(), ids=MEANT)
def test_and_as_the_location_of_a_document(text: str, says: str) -> None:
    assert says in hint_of(lambda: as_document(f"{text}/a.json"))


IN_URLS = {
    "file:////nas01/lab": "smb://nas01/lab",
    "file:////nas01/100%25": "smb://nas01/100%25",
    "file://localhost//nas01/lab": "smb://nas01/lab",
    "fsspec+file:////nas01/lab": "smb://nas01/lab",
    "file:///Z:/lab": "mounted on this machine",
    "file:///Z%3A/lab": "mounted on this machine",
    "file:///Z:": "mounted on this machine",
    "file:Z:/lab": "mounted on this machine",
    "file:~/lab": "expanduser",
    r"file:\\nas01\lab": "smb://nas01/lab",
}


@pytest.mark.parametrize(("url", "says"), IN_URLS.items(), ids=IN_URLS)
def test_and_so_it_is_in_a_url_of_a_local_folder(url: str, says: str) -> None:
    assert says in hint_of(lambda: open_store(url, create=True))


@pytest.mark.parametrize("url", ["file:////svc:hunter2@nas01/lab", "file:////nas01/svc:hunter2@lab"])
def test_no_password_of_a_url_of_a_local_folder_is_shown(url: str) -> None:
    assert "hunter2" not in hint_of(lambda: open_store(url))


@pytest.mark.parametrize("given", [*MEANT, *IN_URLS, Path("file:///data/lab"), Path("smb://nas01/lab")], ids=str)
def test_the_url_that_a_hint_names_is_one_that_can_be_opened(given: str | Path) -> None:
    url = re.search(r"(?:smb|file)://.+(?=,|\.$)", hint_of(lambda: open_store(given)))
    if url is not None:
        location = Location.parse(url[0].partition(",")[0])
        assert bool(location.host) == (location.scheme == "smb")


@pytest.mark.parametrize("text", [r"smb:\\nas01\lab", "smb:nas01/lab"])
def test_a_share_with_too_few_slashes_is_to_be_written_with_its_server(text: str) -> None:
    assert "smb://server/path" in hint_of(lambda: open_store(text))


@pytest.mark.parametrize("text", ["//nas01/lab", r"\\nas01\lab", r"Z:\lab", "~/lab"])
def test_the_command_does_not_take_it_for_a_folder_of_the_working_directory(text: str) -> None:
    assert hint_of(lambda: open_store(resolved(text)))


AS_PATHS = {
    "smb:/nas01/lab": "smb://nas01/lab",
    "smb://nas01/lab": "smb://nas01/lab",
    "file:/data/lab": "file:///data/lab",
    "file:///data/lab": "file:///data/lab",
    "fsspec+zip:///data/lab.zip": "fsspec+zip:///data/lab.zip",
}


@pytest.mark.parametrize(("path", "says"), AS_PATHS.items(), ids=AS_PATHS)
def test_a_url_in_a_path_object_is_to_be_given_as_text(path: str, says: str) -> None:
    assert f"as text: {says}." in hint_of(lambda: open_store(Path(path)))


@pytest.mark.parametrize(
    "text", ["//svc:hunter2@nas01/lab", r"\\svc:hunter2@nas01\lab", "~svc:hunter2@nas01", "Z:/hunter2@x"]
)
def test_no_password_is_shown(text: str) -> None:
    with pytest.raises(LocationError) as caught:
        open_store(text)
    assert "hunter2" not in f"{caught.value} {caught.value!r}"


def test_no_password_of_a_url_in_a_path_object_is_shown() -> None:
    assert "hunter2" not in hint_of(lambda: open_store(Path("smb://svc:hunter2@nas01/lab")))


@pytest.mark.parametrize("text", ["///data/lab", "/data//lab", "/~/lab", "/Z:/lab", r"/data\lab"])
def test_what_is_a_local_path_stays_one(text: str) -> None:
    assert Location.parse(text).scheme == "file"


@pytest.mark.parametrize("scheme", ["nfs", "nfs4", "afp", "sshfs", "cephfs", "lustre", "juicefs", "davfs"])
def test_what_is_only_mounted_is_to_be_mounted(scheme: str) -> None:
    with pytest.raises(UnknownScheme, match="path of the mount"):
        open_store(f"{scheme}://nas01/lab")


ADVICE = {
    "samba": "smb://server",
    "dfs": "smb://server",
    "ssh": "sftp://user@server",
    "sbm": "Is it smb",
    "sqlite": "example",
}


@pytest.mark.parametrize(("scheme", "says"), ADVICE.items(), ids=ADVICE)
def test_an_unknown_scheme_comes_with_advice(scheme: str, says: str) -> None:
    with pytest.raises(UnknownScheme, match=says):
        open_store(f"{scheme}://nas01/lab")


def test_an_unknown_scheme_that_is_the_name_of_an_extra_names_the_extra() -> None:
    with pytest.raises(UnknownScheme, match=r"pip install 'exlab-store\[otel\]'"):
        open_store("otel://nas01/lab")
