"""From a URL's scheme to the one backend that serves it, through entry points.

Only the backend that is asked for is imported, so a broken one never disturbs another scheme.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from exlab_store.errors import ConfigError, PluginError, StoreError, UnknownScheme
from exlab_store.first_imports import import_whole
from exlab_store.hooks.plugin_faults import escaped, shown
from exlab_store.installing import how_to_install
from exlab_store.opening.metadata import OWN, own_field
from exlab_store.opening.offers import offers_of
from exlab_store.secret import revealed
from exlab_store.signal_handlers import came_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exlab_store.hooks.calls import Backend
    from exlab_store.location import Location
    from exlab_store.opening.offers import Offer
    from exlab_store.secret import Secret

__all__ = ["GROUP", "OBSERVERS", "InstalledBackend", "installed_backends", "open_backend", "open_observer"]

GROUP = "exlab_store.backends"
OBSERVERS = "exlab_store.observers"
_EVERY = "every backend and observer that it uses"

# Asking importlib.metadata takes 2.3 ms, so a scheme that was resolved is remembered.
_openers: dict[str, Callable[[Location, Mapping[str, object]], Any]] = {}


class InstalledBackend(msgspec.Struct, frozen=True):
    """An entry point that offers a scheme.

    Attributes:
        scheme: The URL's scheme.
        distribution: The distribution's name.
        version: The distribution's version.
        fault: Why it cannot be used, or None.
        missing_extra: What to install for it, ``distribution[extra]``, or None if nothing is missing.
        passed_over: Name and version of each distribution of the same name that offers something else, and does not
            count as it stands further down the path.
    """

    scheme: str
    distribution: str
    version: str
    fault: str | None = None
    missing_extra: str | None = None
    passed_over: tuple[str, ...] = ()


def open_backend(location: Location, options: Mapping[str, object], secrets: Sequence[Secret] = ()) -> Backend:
    """Opens the backend that serves a location.

    Args:
        location: Where the store is; its scheme is the entry point's name, or ``fsspec+*`` that of ``fsspec+webdav``.
        options: The backend's own options; each `Secret` among them is revealed to the backend.
        secrets: What must not be in the text of an error.

    Raises:
        UnknownScheme: No backend for the scheme is installed, and the message names those that are; or the extra
            that it needs is not.
        PluginError: Two distributions offer the scheme, or the backend cannot be imported, or fails.
        StoreError: Whatever the backend says of the location and the options.
    """
    opener = _openers.get(location.scheme)
    if opener is None:
        opener = _openers[location.scheme] = _load(_offer(location))
    try:
        return opener(location, revealed(options))  # type: ignore[no-any-return]  # checked by BackendHooks
    except StoreError:
        raise
    except (Exception, SystemExit) as error:  # a plugin that ends the program takes every other with it
        if came_from_signal_handler(error):
            raise
        what = f"the backend for {location.scheme}: raised {type(error).__name__} when opened"
        refusal = escaped(what, error, secrets, hint="Report it to the author of the plugin.")
        refusal.__cause__ = shown(error, secrets)
    raise refusal  # out here, as its context would keep what is not shown


def open_observer(name: str, location: Location | None) -> object:
    """Makes an observer.

    Args:
        name: The entry point's name: ``log``, ``otel``, or one that a third party offers.
        location: The location of the store that it is to watch, or None.

    Raises:
        ConfigError: No observer of that name is installed, or the extra that it needs is not.
        PluginError: It cannot be imported, or fails, or two distributions offer it.
    """
    offers = offers_of(OBSERVERS)
    found = [offer for offer in offers if offer.name == name]
    if not found:
        names = ", ".join(sorted({offer.name for offer in offers if offer.fault is None})) or "none"
        hint = f"Installed: {names}. {how_to_install(_EVERY, '')}".rstrip()
        raise ConfigError(f"no installed observer is called {name!r}", field="observers", hint=hint)
    if len(found) > 1:
        distributions = " and ".join(sorted(offer.distribution for offer in found))
        raise PluginError(f"two observers are called {name!r}: {distributions}", hint="Uninstall one of them.")
    (offer,) = found
    _ensure_sound(offer)
    try:
        return offer.entry.load()(location)
    except StoreError:
        raise
    except (Exception, SystemExit) as error:
        if came_from_signal_handler(error):
            raise
        extra = _missing_extra(offer, error)
        if extra is not None:
            raise ConfigError(
                f"the observer {name!r} needs what is not installed",
                field="observers",
                hint=how_to_install(extra),
            ) from error
        raise PluginError(
            f"the observer {name!r} of the distribution {offer.distribution} cannot be used: "
            f"{type(error).__name__}: {error}",
            hint=_how_to_mend(error, "Report it to the author of the plugin."),
        ) from error


def _offer(location: Location) -> Offer:
    offers = offers_of(GROUP)
    found = _serving(location.scheme, offers)
    if not found:
        schemes = sorted({offer.name for offer in offers if offer.fault is None})
        raise UnknownScheme(
            f"no installed backend serves {location.scheme!r}",
            location=str(location),
            hint=f"Installed: {', '.join(schemes) or 'none'}. {_advice(location.scheme, schemes)}",
        )
    if len(found) > 1:
        names = " and ".join(sorted(offer.distribution for offer in found))
        raise PluginError(
            f"two backends serve {location.scheme!r}: {names}",
            location=str(location),
            hint="Uninstall one of them.",
        )
    return found[0]


def _serving(scheme: str, offers: Sequence[Offer]) -> list[Offer]:
    """The offers of a scheme; where nobody has it, those of its family: ``fsspec+*`` serves ``fsspec+webdav``."""
    family, plus, _ = scheme.partition("+")
    return [offer for offer in offers if offer.name == scheme] or [
        offer for offer in offers if plus and offer.name == f"{family}+*"
    ]


# What people write for what is reached in another way.
_MOUNTED = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "efs", "afp", "afs", "openafs", "coda", "virtiofs", "iscsi", "sshfs", "davfs"),
        *("gluster", "glusterfs", "ceph", "cephfs", "lustre", "beegfs", "gpfs", "spectrumscale", "panfs", "pvfs2"),
        *("orangefs", "moosefs", "juicefs", "quobyte", "weka", "wekafs", "ocfs2", "gfs2", "rclone"),
    }
)
_SMB = frozenset({"cifs", "dfs", "samba", "smb2", "smb3", "smbfs", "unc"})
_SFTP = frozenset({"ssh", "scp"})
_OF_FSSPEC = frozenset(
    {"webdav", "webdavs", "dav", "davs", "http", "https", "ftp", "gcs", "gs", "hdfs", "zip", "github"}
)
# No name to be handed to pip: whoever registers it there would be installed.
_EXAMPLES = {"sqlite": "the example project docs/examples/exlab-store-sqlite of this package"}


def _advice(scheme: str, installed: Sequence[str]) -> str:
    """What to do about a scheme that nobody serves."""
    import_whole("difflib")
    from difflib import get_close_matches

    if scheme in _MOUNTED:
        return "Mount it, and give the path of the mount."
    if scheme in _SMB and "smb" in installed:
        return "Write smb://server/share/folder."
    if scheme in _SFTP and "sftp" in installed:
        return "Write sftp://user@server/folder."
    if scheme in _OF_FSSPEC and "fsspec+*" in installed:
        return f"Write fsspec+{'webdav' if 'dav' in scheme else scheme}://... ."
    wanted = "smb" if scheme in _SMB else "sftp" if scheme in _SFTP else scheme
    if wanted in own_field("Provides-Extra"):
        return how_to_install(f"{OWN}[{wanted}]")
    if scheme in _EXAMPLES:
        return f"It is served by {_EXAMPLES[scheme]}."
    similar = get_close_matches(scheme, installed, n=1)
    if similar:
        return f"Is it {similar[0]}?"
    return how_to_install(_EVERY, "Install the distribution that offers the scheme.")


def _ensure_sound(offer: Offer) -> None:
    if offer.fault is not None:
        raise PluginError(
            f"{offer.name!r} of the distribution {offer.distribution} cannot be used: {offer.fault}",
            hint=f"Repair or uninstall {offer.distribution}.",
        )


def _load(offer: Offer) -> Callable[[Location, Mapping[str, object]], Any]:
    _ensure_sound(offer)
    try:
        opener = offer.entry.load()
    except (Exception, SystemExit) as error:
        if came_from_signal_handler(error):
            raise
        extra = _missing_extra(offer, error)
        if extra is not None:
            raise UnknownScheme(
                f"the backend for {offer.name!r} needs what is not installed",
                hint=how_to_install(extra),
            ) from error
        raise PluginError(
            f"the backend {offer.name!r} of the distribution {offer.distribution} cannot be imported: "
            f"{type(error).__name__}: {error}",
            hint=_how_to_mend(error, f"Repair or uninstall {offer.distribution}."),
        ) from error
    if not callable(opener):
        raise PluginError(f"the entry point {offer.name!r} of the distribution {offer.distribution} is not callable")
    return opener  # type: ignore[no-any-return]  # its result is checked by BackendHooks


def _how_to_mend(error: BaseException, otherwise: str) -> str:
    """The advice where a plugin cannot be loaded: what is missing in a frozen application was not built into it."""
    return how_to_install(_EVERY, otherwise) if isinstance(error, ImportError) else otherwise


def _missing_extra(offer: Offer, error: BaseException | None) -> str | None:
    """``distribution[extra]`` where the import failed for want of a package that an extra brings."""
    own, extras = offer.entry.module.partition(".")[0], offer.entry.extras
    if not extras or not isinstance(error, ModuleNotFoundError) or (error.name or own).partition(".")[0] == own:
        return None
    return f"{offer.distribution}[{extras[0]}]"


def installed_backends() -> list[InstalledBackend]:
    """Every backend that is installed, in the order of the schemes; each is imported, a broken one has a fault."""
    offers = sorted(offers_of(GROUP), key=lambda offer: (offer.name, offer.distribution, offer.value))
    schemes = [offer.name for offer in offers]
    backends: list[InstalledBackend] = []
    for offer in offers:
        fault, missing = None, None
        try:
            _load(offer)
        except UnknownScheme as error:
            missing = _missing_extra(offer, error.__cause__)
        except PluginError as error:
            fault = error.message
        if schemes.count(offer.name) > 1:
            fault = f"more than one distribution serves {offer.name!r}"
        passed_over = offer.passed_over
        backends.append(InstalledBackend(offer.name, offer.distribution, offer.version, fault, missing, passed_over))
    return backends
