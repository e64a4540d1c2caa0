"""``mode=`` asks for documents that are private: each backend makes them so, or says that it cannot."""

from __future__ import annotations

from typing import Final

import pytest

from exlab_store import NotSupported, open_store
from exlab_store.opening.offers import offers_of

WITHOUT_PERMISSIONS: Final = {
    "cifs": "cifs://nas01.invalid/lab",
    "fsspec+*": "fsspec+memory://lab",
    "memory": "memory://",
    "postgres": "postgres://db01.invalid/lab",
    "postgresql": "postgresql://db01.invalid/lab",
    "s3": "s3://lab",
    "sftp": "sftp://nas01.invalid/lab",
    "smb": "smb://nas01.invalid/lab",
}


@pytest.mark.parametrize("scheme", WITHOUT_PERMISSIONS)
def test_a_mode_where_the_backend_sets_no_permissions_is_not_supported(scheme: str) -> None:
    with pytest.raises(NotSupported, match="and mode was given"):
        open_store(WITHOUT_PERMISSIONS[scheme], mode=0o600)


def test_each_backend_that_comes_with_the_package_is_asked() -> None:
    bundled = {offer.name for offer in offers_of("exlab_store.backends") if offer.distribution == "exlab-store"}
    assert bundled == {"file", *WITHOUT_PERMISSIONS}
