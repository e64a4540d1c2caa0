"""The promises of a backend, as data; and the shortfall of a promise from a requirement."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

__all__ = ["ConditionalWrite", "Fresh", "Guarantees", "LockRelease", "LockScope", "Shortfall", "Watch"]

ConditionalWrite = Literal["none", "locked", "native"]
LockScope = Literal["none", "process", "host", "site"]
LockRelease = Literal["explicit", "lease", "crash"]
Fresh = Literal["none", "locked", "always"]
Watch = Literal["none", "polled", "pushed"]

# From the weakest to the strongest.
_ORDER: dict[str, tuple[object, ...]] = {
    "conditional_write": get_args(ConditionalWrite),
    "lock_scope": get_args(LockScope),
    "lock_release": get_args(LockRelease),
    "fresh": get_args(Fresh),
    "watch": get_args(Watch),
}


class Shortfall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A guarantee that is weaker than required.

    Attributes:
        guarantee: The name of the field of `Guarantees`.
        required: What was asked for.
        offered: What the backend gives.
        reason: Why it is not more, where the backend says so.
    """

    guarantee: str
    required: bool | str
    offered: bool | str
    reason: str = ""

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.guarantee} must be {self.required!r} and is {self.offered!r}{reason}"


class Guarantees(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a backend promises for one store. Every default is the weakest value.

    What is not claimed raises `NotSupported` when it is used.

    Attributes:
        atomic_replace: A reader sees the old or the new document, never a mixture, and never waits.
        durable: An acknowledged write survives a crash and a power cut of the machine that stores it.
        conditional_write: How ``expect=`` is kept: ``none`` not at all, ``locked`` because the core takes the
            document's lock around it, ``native`` by the storage system itself.
        lock_scope: Between whom a lock excludes: ``none``, the threads of one ``process``, the processes of one
            ``host``, or every client of the ``site``.
        lock_release: What ends a lock whose holder dies: nothing (``explicit``), time (``lease``), or the
            holder's end itself (``crash``).
        fenced: A write under a lock that was lost is refused.
        lists: The store can list its keys.
        deletes: The store can delete documents.
        fresh: Which reads see the last acknowledged write of any client: ``none`` for certain, as something caches
            documents in between, those under the document's lock (``locked``), or all (``always``).
        watch: How changes are told: ``none`` not at all, ``polled`` because the core lists and reads again and again,
            ``pushed`` by the storage system, as they happen. What lists its keys is ``polled`` at least.
    """

    atomic_replace: bool = False
    durable: bool = False
    conditional_write: ConditionalWrite = "none"
    lock_scope: LockScope = "none"
    lock_release: LockRelease = "explicit"
    fenced: bool = False
    lists: bool = False
    deletes: bool = False
    fresh: Fresh = "none"
    watch: Watch = "none"

    @classmethod
    def at_least(
        cls,
        *,
        atomic_replace: bool = False,
        durable: bool = False,
        conditional_write: ConditionalWrite = "none",
        lock_scope: LockScope = "none",
        lock_release: LockRelease = "explicit",
        fenced: bool = False,
        lists: bool = False,
        deletes: bool = False,
        fresh: Fresh = "none",
        watch: Watch = "none",
    ) -> Guarantees:
        """A requirement for `open_store`: what is not named is not required.

        Args:
            atomic_replace: See `Guarantees`, as for the others.
            durable: True to require it.
            conditional_write: The weakest acceptable value.
            lock_scope: The weakest acceptable value.
            lock_release: The weakest acceptable value.
            fenced: True to require it.
            lists: True to require it.
            deletes: True to require it.
            fresh: The weakest acceptable value.
            watch: The weakest acceptable value.

        Raises:
            ValueError: A value is not one of those that the attribute lists.
        """
        required = cls(
            atomic_replace=atomic_replace,
            durable=durable,
            conditional_write=conditional_write,
            lock_scope=lock_scope,
            lock_release=lock_release,
            fenced=fenced,
            lists=lists,
            deletes=deletes,
            fresh=fresh,
            watch=watch,
        )
        flaw = required.flaw()
        if flaw is not None:
            raise ValueError(flaw)
        return required

    def stricter(self, other: Guarantees) -> Guarantees:
        """The requirement that holds when both do: of each guarantee the stronger value.

        Args:
            other: Another requirement.
        """
        stronger = {
            name: max(getattr(self, name), getattr(other, name), key=_ORDER.get(name, (False, True)).index)
            for name in self.__struct_fields__
        }
        return Guarantees(**stronger)

    def flaw(self) -> str | None:
        """What is wrong with the values, or None: a frozen struct does not check what it is given."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            allowed = _ORDER.get(name, (False, True))
            if not any(value is option or (isinstance(value, str) and value == option) for option in allowed):
                return f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}"
        return None

    def shortfalls(self, required: Guarantees) -> tuple[Shortfall, ...]:
        """Each guarantee that is weaker than required.

        Args:
            required: The weakest acceptable value of every guarantee.
        """
        found: list[Shortfall] = []
        for name in self.__struct_fields__:
            order = _ORDER.get(name, (False, True))
            offered, wanted = getattr(self, name), getattr(required, name)
            if order.index(offered) < order.index(wanted):
                found.append(Shortfall(name, wanted, offered))
        return tuple(found)
