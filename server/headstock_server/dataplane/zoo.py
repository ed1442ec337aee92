"""The catalogue as a server shows it, and the changes that an operator may make through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from headstock.catalogue import Catalogue
from headstock.catalogue.description import describe
from headstock.catalogue.listing import Listing, read_listing
from headstock.catalogue.views import AliasChange, Event
from headstock.digest import Digest
from headstock.errors import FailedPrecondition, InvalidInput, PermissionDenied, Unavailable
from headstock.licences.composition import judge_many
from headstock.licences.context import Context
from headstock.licences.policy import Policy
from headstock.licences.provenance import provenance
from headstock.names import Reference, check_name
from headstock.records import PRODUCTION, Version
from headstock.report.gate import check_promotion
from headstock.signing import is_signed
from headstock_server.dataplane.kept_facts import KeptFacts
from headstock_server.dataplane.shown import Shown, Told, Wanted
from headstock_server.repository import Repository
from headstock_server.repository.ruling import Ruling

_POLL = 0.1
_MISSED = 10_000
"""Events that a watcher may ask for again."""
_WATCHERS = 64
"""Watchers at one time."""

T = TypeVar("T")


class ZooPlane:
    """Reads are for everybody; changes need `allowed`, for this server does not ask who is calling.

    All methods run on the event loop and hand blocking work to threads of their own, away from those of inference.
    """

    def __init__(self, catalogue: Catalogue, repository: Repository, *, allowed: bool) -> None:
        """Show `catalogue` and what `repository` has loaded of it."""
        self.allowed = allowed
        self._catalogue = catalogue
        self._repository = repository
        self._facts = KeptFacts(catalogue)
        self._watchers = 0
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="headstock-zoo")

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def check_allowed(self, action: str) -> None:
        """Raise `PermissionDenied` unless the operator opened the changes."""
        if not self.allowed:
            raise PermissionDenied(
                f"{action} changes what this server serves, and it was started without that permission",
                fix="headstock serve --allow-admin",
            )

    # ------------------------------------------------------------------------------------------ reads
    async def entries(self, wanted: Wanted, tenant: str = "") -> list[Shown]:
        """The wanted versions with their state on this server and the verdict on the tenant's use."""
        wanted.check()
        listings = await self._run(lambda: self._listings(wanted, tenant))
        states = {(row.name, row.version): row for row in self._repository.index(tenant)}
        return [Shown(item, states.get((item.name, item.version)), self._ruling(item, tenant)) for item in listings]

    async def show(self, reference: Reference) -> dict[str, Any]:
        """All that is known about one version; see `headstock.catalogue.description`. Raises `NotFound`."""
        return await self._run(lambda: describe(self._catalogue, self._catalogue.version(reference)))

    async def provenance(self, reference: Reference, tenant: str = "") -> Told:
        """Where a version comes from and what follows for the tenant's use. Raises `NotFound`."""
        return await self._run(lambda: self._provenance(self._catalogue.version(reference), tenant))

    async def exists(self, name: str) -> None:
        """Raise `NotFound` unless the catalogue has the entry."""
        await self._run(lambda: self._catalogue.newest(check_name(name)))

    async def watch(self, after: int | None) -> AsyncGenerator[Event | int, None]:
        """Every event of the catalogue from now on, or after the one numbered `after`, oldest first.

        The first item is the number of the newest event at the start. Raises `Unavailable` if too many watch already.
        """
        if self._watchers >= _WATCHERS:
            raise Unavailable(f"{_WATCHERS} callers watch the catalogue already")
        self._watchers += 1
        try:
            seen: int | None = None
            last = await self._newest_event()
            yield last
            if after is not None:
                last = min(after, last)
            while True:
                generation = self._repository.generation
                if generation != seen:
                    seen = generation
                    for event in await self._events(last):
                        last = event.id
                        yield event
                await asyncio.sleep(_POLL)
        finally:
            self._watchers -= 1

    # ------------------------------------------------------------------------------------------ changes
    async def promote(self, reference: Reference, alias: str, reason: str) -> AliasChange:
        """Point an alias at a version; a name alone means its newest. The server follows by itself."""
        self.check_allowed(f"promoting {str(reference)!r}")

        def change() -> AliasChange:
            catalogue = self._catalogue
            version = catalogue.version(reference) if reference.selector else catalogue.newest(reference.name)
            allowed = check_promotion(catalogue, version, reason=reason)
            return self._repository.licences.promote(version, alias or PRODUCTION, allowed)

        return await self._run(change)

    async def rollback(self, name: str, alias: str, reason: str) -> AliasChange:
        """Point an alias where it pointed before."""
        self.check_allowed(f"rolling back {name[:80]!r}")
        check_name(name)
        return await self._run(lambda: self._catalogue.rollback(name, alias or PRODUCTION, reason=reason))

    async def load(self, name: str) -> list[int]:
        """Load what a name means now and undo an unload; returns the versions that are loaded then."""
        self.check_allowed(f"loading {name[:80]!r}")
        return sorted(model.number for model in await self._run(lambda: self._repository.load(name)))

    async def unload(self, name: str) -> None:
        """Let go of a name until it is loaded again; what is in flight is answered."""
        self.check_allowed(f"unloading {name[:80]!r}")
        await self._run(lambda: self._repository.unload(name))

    # ------------------------------------------------------------------------------------------ helpers
    def _listings(self, wanted: Wanted, tenant: str) -> list[Listing]:
        found = read_listing(self._catalogue.settings, wanted.kind or None)
        if wanted.backbone:
            found = [item for item in found if item.backbone.startswith(wanted.backbone)]
        if not wanted.may:
            return found
        policy = self._policy()
        use = Context.from_mapping({"purpose": wanted.may}, policy.context_of(tenant))
        subjects = {Digest(item.subject) for item in found}
        verdicts = judge_many(self._facts.read(), subjects, use, policy)
        return [item for item in found if verdicts[Digest(item.subject)].value == "allow"]

    def _policy(self) -> Policy:
        """The policy that rulings were made under, else the installation's own."""
        try:
            return self._repository.licences.uses.policy or Policy.load(self._catalogue.settings)
        except InvalidInput as error:
            # The operator's mistake, and not the caller's.
            raise FailedPrecondition(error.message, fix=error.fix) from error

    def _ruling(self, item: Listing, tenant: str) -> Ruling | None:
        return self._repository.licences.ruling_of(item.name, item.version, tenant)

    def _provenance(self, version: Version, tenant: str) -> Told:
        licences, catalogue = self._repository.licences, self._catalogue
        policy = self._policy()
        made = provenance(self._facts.read(), version, policy.context_of(tenant), policy)
        ruling = licences.ruling(version, tenant)
        refused = licences.trouble(version, tenant) if version.kind == "model" else ""
        return Told(made, policy.signature, is_signed(catalogue, version), ruling, refused)

    async def _newest_event(self) -> int:
        events = await self._run(lambda: self._catalogue.events(1))
        return events[0].id if events else 0

    async def _events(self, after: int) -> list[Event]:
        missed = min(await self._newest_event() - after, _MISSED)
        if missed <= 0:
            return []
        events = await self._run(lambda: self._catalogue.events(missed))
        return [event for event in reversed(events) if event.id > after]

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
