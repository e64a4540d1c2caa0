"""PyInstaller's hook: backends and observers are found by their entry points, which no import names.

It brings the metadata of every distribution that offers one, and the modules that they point to, third parties' too.
"""

from __future__ import annotations

import importlib.util
from contextlib import suppress

from PyInstaller.utils.hooks import collect_submodules, copy_metadata

from exlab_store.opening.offers import offers_of

datas: list[tuple[str, str]] = []
hiddenimports: list[str] = []

for _group in ("exlab_store.backends", "exlab_store.bypasses", "exlab_store.observers"):
    for _offer in offers_of(_group):
        _module = _offer.entry.module if _offer.fault is None else ""
        # An extra that is not installed here cannot be frozen either.
        if _module and importlib.util.find_spec(_module.partition(".")[0]) is not None:
            hiddenimports += collect_submodules(_module.partition(".")[0], on_error="ignore")
            # PyInstaller looks for a folder of that name. The metadata may have another name than its folder, and then
            # the error is an ImportError; where it is in an archive, a RuntimeError.
            with suppress(ImportError, RuntimeError):
                datas += copy_metadata(_offer.distribution)
