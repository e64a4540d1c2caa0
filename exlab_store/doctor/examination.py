"""A whole examination: every probe at every place and between every two, with nothing left behind."""

from __future__ import annotations

import itertools
import math
import secrets
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import msgspec

from exlab_store.clients.client import ClientGone, NoAnswer
from exlab_store.doctor.findings import Finding, Latencies, ProbeResult, failed, not_applicable
from exlab_store.doctor.folder import FOLDER
from exlab_store.doctor.machines.client import OtherMachine
from exlab_store.doctor.machines.codes import new_code
from exlab_store.doctor.machines.names import machine
from exlab_store.doctor.machines.post import MachineGone
from exlab_store.doctor.probes import OF_MACHINES, OF_PAIRS, OF_PLACES
from exlab_store.doctor.verdict import Claim, Evidence, blamed, judge
from exlab_store.doctor.visit import Visit
from exlab_store.errors import AccessDenied, BackendUnavailable, LocationError, StoreError
from exlab_store.guarantees import Guarantees  # noqa: TC001  # msgspec looks at it
from exlab_store.hidden_location import hides_location

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Sequence

    from exlab_store.clients.requests import StoreDescription
    from exlab_store.doctor.machines.codes import Code
    from exlab_store.doctor.probes import Probe

__all__ = ["Examination", "Place", "examine"]

# Where nothing is shared, there is nothing else to look at.
_STRANGERS = frozenset({("same", "not applicable"), ("same", "fail"), ("machines", "fail")})
_ANSWERING = 10.0
_FARTHER = 5.0  # times as long, for two machines whose messages take a while
_LIMIT = 30.0  # seconds for one probe, beside the races


class Place(msgspec.Struct, frozen=True):
    """One location.

    Attributes:
        location: Without secrets.
        guarantees: What its backend claims.
        latencies: How long operations took.
        remains: The doctor's folder where it could not be removed, or empty text.
        machine: The name of the machine that opened it.
    """

    location: str
    guarantees: Guarantees
    latencies: tuple[Latencies, ...] = ()
    remains: str = ""
    machine: str = ""


class Examination(msgspec.Struct, frozen=True):
    """What was found.

    Attributes:
        at: When it began, ``YYYY-MM-DDTHH:MM:SSZ``.
        host: From which machine.
        seconds: How long it took.
        places: The locations, in the order in which they were given, and then that of the machine that joined.
        findings: Those of each place, and then those of each pair.
        claims: What each backend claims, and whether it held.
    """

    at: str
    host: str
    seconds: float
    places: tuple[Place, ...]
    findings: tuple[Finding, ...]
    claims: tuple[Claim, ...]

    @property
    def machines(self) -> tuple[str, ...]:
        """The names of the machines that took part; the first has examined."""
        return tuple(dict.fromkeys(place.machine for place in self.places))

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The probes that failed."""
        return tuple(each for each in self.findings if each.outcome == "fail")

    @property
    def warned(self) -> tuple[Finding, ...]:
        """The probes with a warning."""
        return tuple(each for each in self.findings if each.outcome == "warn")

    @property
    def broken(self) -> tuple[Claim, ...]:
        """The claims that did not hold."""
        return tuple(each for each in self.claims if each.seen == "broken")


@hides_location
def examine(
    locations: Sequence[str | os.PathLike[str]],
    *,
    config: str | None = None,
    seconds: float = 1.0,
    only: Collection[str] = (),
    progress: Callable[[int, int, str], None] | None = None,
    invited: Callable[[str], None] | None = None,
    wait: float = 600.0,
) -> Examination:
    """Probes stores with clients in processes of their own, in a folder of its own that it removes.

    Args:
        locations: One or more, as `open_store` takes them. Of several, each two are also examined together.
        config: The configuration's file for ``@name``; None to look for it.
        seconds: How long each kind of work goes on that is a matter of time.
        only: The names of the probes that are wanted; empty for all. Whether the place can be reached is always asked.
        progress: Called before each probe with the number of those that are done, of all, and what comes.
        invited: Has another machine take part at the only location: called with the code that `join` needs there, when
            this machine's own probes are done.
        wait: Seconds that the other machine may take to join.

    Returns:
        What was found.

    Raises:
        LocationError: A location cannot be used, or processes cannot share it; or there are several, and another
            machine was to take part.
        BackendUnavailable: A place cannot be reached, or went away in the middle; or the other machine has not joined,
            or does not answer any more.
        StoreError: A store cannot be opened, or the examination was ended on the other machine.
    """
    if invited is not None and len(locations) != 1:
        raise LocationError("another machine can take part in the examination of one location", hint="Give one.")
    code = None if invited is None else new_code()
    folder = FOLDER + secrets.token_hex(8) if code is None else code.folder
    with ExitStack() as running:
        visits = [
            running.enter_context(Visit([location], folder, str(number + 1), seconds, config))
            for number, location in enumerate(locations)
        ]
        tour = _Tour(visits, folder, seconds, config, only, progress)
        if invited is not None and code is not None:
            tour.invite(code, invited, wait)
        for visit in visits:
            visit.start()
        return tour.made(running)


class _Tour:
    """The way from probe to probe."""

    def __init__(
        self,
        visits: list[Visit],
        folder: str,
        seconds: float,
        config: str | None,
        only: Collection[str],
        progress: Callable[[int, int, str], None] | None,
    ) -> None:
        self._visits = visits
        self._folder = folder
        self._seconds = seconds
        self._config = config
        self._progress = progress
        self._only = frozenset(only)
        self._of_places = [probe for probe in OF_PLACES if not only or probe.name in only or probe.name == "reach"]
        self._of_pairs = [probe for probe in OF_PAIRS if not only or probe.name in only or probe.name == "same"]
        self._pairs = list(itertools.combinations(range(len(visits)), 2))
        self._of_machines: list[Probe] = []
        self._invitation: tuple[Code, Callable[[str], None], float] | None = None
        self._done = 0
        self._findings: list[Finding] = []
        self._evidence: list[Evidence] = []
        self._latencies: dict[int, tuple[Latencies, ...]] = {}
        self._settled = True
        self._gone = False

    def invite(self, code: Code, invited: Callable[[str], None], wait: float) -> None:
        """Has another machine take part when this one's probes are done.

        Args:
            code: The examination's.
            invited: Is told it.
            wait: Seconds that it may take to join.
        """
        self._invitation = code, invited, wait
        self._of_machines = [
            probe for probe in OF_MACHINES if not self._only or probe.name in self._only or probe.name == "machines"
        ]

    def made(self, running: ExitStack) -> Examination:
        """Goes all the way."""
        began, at = time.monotonic(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        opened = [_opened(visit) for visit in self._visits]
        host = machine()
        machines = [host] * len(opened)
        remains: dict[int, str] = {}
        try:
            for number, visit in enumerate(self._visits):
                self._look(visit, (number,), self._of_places)
            for pair in self._pairs:
                self._look_at_pair(pair, running)
            if self._invitation is not None:
                its, name = self._look_with_other(*self._invitation)
                opened.append(its)
                machines.append(name)
        finally:
            if not self._gone:
                self._tell("Cleaning up")
                remains = self._cleared()
        places = tuple(
            Place(each.location, each.guarantees, self._latencies.get(number, ()), remains.get(number, ""), name)
            for number, (each, name) in enumerate(zip(opened, machines, strict=True))
        )
        claims = judge([place.guarantees for place in places], self._evidence)
        return Examination(at, host, time.monotonic() - began, places, tuple(self._findings), claims)

    def _look_with_other(self, code: Code, invited: Callable[[str], None], wait: float) -> tuple[StoreDescription, str]:
        """Examines together with another machine; what that has opened, and its name."""
        [own] = self._visits
        if not own.writable:
            raise AccessDenied(
                "another machine cannot take part: nothing can be written", location=own.opened[0].location
            )
        self._tell("Waiting for the other machine")
        other = OtherMachine(own.location, self._config, code, self._seconds)
        reason = ""
        try:
            other.invite(wait, invited)
            with Visit([own.location], self._folder, "machines", self._seconds, self._config, other) as visit:
                visit.start()
                its = visit.opened[1]
                self._look(visit, (0, 1), self._of_machines)
        except MachineGone as gone:
            raise gone.error from None
        except BaseException as error:
            reason = error.message if isinstance(error, StoreError) else "it was interrupted"
            raise
        finally:
            other.end(reason)
        return its, other.name

    def _look_at_pair(self, pair: tuple[int, int], running: ExitStack) -> None:
        one, other = (self._visits[number] for number in pair)
        name = f"{pair[0] + 1}-{pair[1] + 1}"
        visit = Visit([one.location, other.location], self._folder, name, self._seconds, self._config)
        running.enter_context(visit)
        visit.writable = one.writable and other.writable
        self._look(visit, pair, self._of_pairs)

    def _look(self, visit: Visit, places: tuple[int, ...], probes: Sequence[Probe]) -> None:
        strangers = False
        for probe in probes:
            self._tell(probe.title)
            self._done += 1
            if strangers:
                continue
            began = time.monotonic()
            observation = self._observed(probe, visit)
            taken = time.monotonic() - began
            self._note(probe, visit, places, observation, taken)
            strangers = (probe.name, observation.outcome) in _STRANGERS

    def _tell(self, text: str) -> None:
        if self._progress is not None:
            total = len(self._visits) * len(self._of_places) + len(self._pairs) * len(self._of_pairs)
            total += len(self._of_machines)
            self._progress(self._done, total, text)

    def _note(
        self, probe: Probe, visit: Visit, places: tuple[int, ...], observation: ProbeResult, taken: float
    ) -> None:
        self._findings.append(
            Finding(
                probe=probe.name,
                title=probe.title,
                places=places,
                outcome=observation.outcome,
                observed=observation.observed,
                advice=observation.advice,
                seconds=taken,
            )
        )
        if observation.latencies:
            self._latencies[places[0]] = observation.latencies
        if not observation.seen:
            return
        claims = list(zip(places, [opened.guarantees for opened in visit.opened], strict=False))
        if observation.client is not None and len(claims) > 1:
            claims = [claims[observation.client]]
        between = visit.other is not None and not visit.other.same_name
        for guarantee, seen in observation.seen.items():
            self._evidence += [
                Evidence(place, guarantee, seen, probe.name, between)
                for place in blamed(guarantee, seen, claims, between_machines=between)
            ]

    def _observed(self, probe: Probe, visit: Visit) -> ProbeResult:
        if probe.writes and not visit.writable:
            return not_applicable("the place cannot be written")
        self._settled = False
        visit.allow((_LIMIT + 5 * self._seconds) * (1 if visit.other is None else _FARTHER))
        try:
            observation = probe.run(visit)
        except LocationError:
            self._settled = True
            raise
        except (NoAnswer, ClientGone) as error:
            observation = failed(str(error), "A client of this place may hang; look at the storage and the network.")
        except StoreError as error:
            # The message first: a sentence does not begin with the name of a document.
            where = f" ({error.where})" if error.where else ""
            observation = failed(f"{error.message}{where}", error.hint or "")
        else:
            self._settled = True
        visit.allow(math.inf)
        if not self._settled:
            visit.renew()
        if observation.outcome == "fail":
            self._ensure_reachable(visit, observation)
        self._settled = True
        return observation

    def _ensure_reachable(self, visit: Visit, seen: ProbeResult) -> None:
        """A place that has gone is no finding: everything else would fail too."""
        for number, client in enumerate((visit.first, visit.second)):
            try:
                client.send("touch")
                client.answer(_ANSWERING)
            except (BackendUnavailable, LocationError, NoAnswer) as error:
                self._gone = True
                reason = error.message if isinstance(error, StoreError) else seen.observed
                raise BackendUnavailable(
                    f"the place went away while it was examined: {reason}",
                    location=visit.opened[number].location,
                    hint=f"See why, and try again. The folder {self._folder} may be left there.",
                ) from error
            except (ClientGone, StoreError):
                continue  # it answers, if only with an error

    def _cleared(self) -> dict[int, str]:
        """Removes the doctor's folder everywhere; returns what stays."""
        remains: dict[int, str] = {}
        for number, visit in enumerate(self._visits):
            if not self._settled:
                visit.renew()
            with suppress(StoreError, NoAnswer, ClientGone):
                if _clear(visit):
                    continue
            if visit.writable:
                remains[number] = self._folder
        return remains


def _clear(visit: Visit) -> bool:
    visit.kill(1)  # what it had open could not be removed
    visit.bypass(0)
    return bool(visit.first.ask("clear", folder=visit.folder, keys=[]))


def _opened(visit: Visit) -> StoreDescription:
    try:
        return visit.opened[0]
    except NoAnswer as error:
        raise BackendUnavailable(
            f"it cannot be opened: {error}", hint="Look at the network and the server; trying again may succeed."
        ) from error
    except ClientGone as error:
        raise StoreError(f"it cannot be opened: {error}") from error
