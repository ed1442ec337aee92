"""Any sequence of operations against a plain model: nothing reachable is lost, no number returns, history stands."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headstock.catalogue import AliasChange, Catalogue, Lease
from headstock.digest import Digest
from headstock.errors import AlreadyExists, FailedPrecondition, NotFound
from headstock.names import Reference
from headstock.records import ModelIdentity
from headstock.settings import Settings
from headstock.testing.publications import backbone_publication, model_publication

NAMES = ("alpha", "beta", "gamma")
ALIASES = ("production", "canary")
SEEDS = st.integers(0, 3)


@dataclass
class Entry:
    """What the model knows of an entry."""

    kind: str = ""
    given: int = 0
    """Highest number ever given."""
    versions: dict[int, Digest] = field(default_factory=dict)
    aliases: dict[str, list[int]] = field(default_factory=dict)
    """Alias to the targets it could be rolled back to, the current one last."""


class CatalogueMachine(RuleBasedStateMachine):
    """The real catalogue beside a dict."""

    @initialize()
    def start(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="headstock-"))
        self.settings = Settings.from_environment({"HEADSTOCK_HOME": str(self.home)})
        self.catalogue = Catalogue.open(self.settings)
        self.entries = {name: Entry() for name in NAMES}
        self.backbones: dict[Digest, Digest] = {}
        self.files: dict[Digest, frozenset[Digest]] = {}
        self.history: dict[tuple[str, str], list[AliasChange]] = {}
        self.lease: Lease | None = None
        self.leased: Digest | None = None

    def teardown(self) -> None:
        if hasattr(self, "catalogue"):
            self.catalogue.close()
            shutil.rmtree(self.home)

    # ------------------------------------------------------------------------------------------ rules
    @rule(name=st.sampled_from(NAMES), seed=SEEDS)
    def publish_backbone(self, name: str, seed: int) -> None:
        with self.catalogue.writing("test"):
            publication = backbone_publication(self.catalogue.store, name, seed=seed)
            entry = self.entries[name]
            if entry.versions and entry.kind != "backbone":
                with pytest.raises(AlreadyExists):
                    self.catalogue.publish(publication)
                return
            number = self.catalogue.publish(publication).number
        self.backbones[publication.subject] = publication.subject
        self.files[publication.subject] = frozenset(publication.artefacts[1].files.values())
        self._published(entry, "backbone", number, publication.subject)

    @rule(name=st.sampled_from(NAMES), seed=SEEDS, data=st.data())
    def publish_model(self, name: str, seed: int, data: st.DataObject) -> None:
        standing = sorted({d for e in self.entries.values() if e.kind == "backbone" for d in e.versions.values()})
        assume(standing)
        backbone = data.draw(st.sampled_from(standing))
        with self.catalogue.writing("test"):
            publication = model_publication(self.catalogue.store, name, backbone, seed=seed)
            entry = self.entries[name]
            if entry.versions and entry.kind != "model":
                with pytest.raises(AlreadyExists):
                    self.catalogue.publish(publication)
                return
            number = self.catalogue.publish(publication).number
        self.backbones[publication.subject] = backbone
        own = frozenset(b for artefact in publication.artefacts for b in artefact.files.values())
        self.files[publication.subject] = own | self.files[backbone]
        self._published(entry, "model", number, publication.subject)

    def _published(self, entry: Entry, kind: str, number: int, subject: Digest) -> None:
        newest = max(entry.versions, default=0)
        if newest and entry.versions[newest] == subject:
            assert number == newest
            return
        assert number == entry.given + 1, "numbers strictly increase and never return"
        entry.kind, entry.given = kind, number
        entry.versions[number] = subject

    @rule(name=st.sampled_from(NAMES), number=st.integers(1, 6), alias=st.sampled_from(ALIASES))
    def promote(self, name: str, number: int, alias: str) -> None:
        entry = self.entries[name]
        if number not in entry.versions:
            with pytest.raises(NotFound):
                self.catalogue.promote(name, number, alias)
            return
        self.catalogue.promote(name, number, alias)
        stack = entry.aliases.setdefault(alias, [])
        if not stack or stack[-1] != number:
            stack.append(number)

    @rule(name=st.sampled_from(NAMES), alias=st.sampled_from(ALIASES))
    def rollback(self, name: str, alias: str) -> None:
        entry = self.entries[name]
        stack = entry.aliases.get(alias, [])
        earlier = [i for i, n in enumerate(stack[:-1]) if n in entry.versions and n != stack[-1]]
        if not earlier:
            with pytest.raises((FailedPrecondition, NotFound)):
                self.catalogue.rollback(name, alias)
            return
        del stack[earlier[-1] + 1 :]
        assert self.catalogue.rollback(name, alias).number == stack[-1]

    @rule(name=st.sampled_from(NAMES), number=st.one_of(st.none(), st.integers(1, 6)))
    def remove(self, name: str, number: int | None) -> None:
        entry = self.entries[name]
        gone = set(entry.versions) if number is None else {number} & set(entry.versions)
        pointed = number is not None and any(stack[-1] == number for stack in entry.aliases.values())
        stood_on = entry.kind == "backbone" and any(
            self.backbones[subject] in {entry.versions[n] for n in gone}
            for other in self.entries.values()
            if other.kind == "model"
            for subject in other.versions.values()
        )
        if not gone or pointed or stood_on:
            with pytest.raises((FailedPrecondition, NotFound)):
                self.catalogue.remove(name, number)
            return
        self.catalogue.remove(name, number)
        for removed in gone:
            del entry.versions[removed]
        if number is None:
            entry.aliases.clear()

    @precondition(lambda self: self.lease is None)
    @rule(data=st.data())
    def take_lease(self, data: st.DataObject) -> None:
        subjects = sorted({d for entry in self.entries.values() for d in entry.versions.values()})
        assume(subjects)
        self.leased = data.draw(st.sampled_from(subjects))
        self.lease = self.catalogue.lease("server", [self.leased], 600)

    @precondition(lambda self: self.lease is not None)
    @rule()
    def release_lease(self) -> None:
        assert self.lease is not None
        self.lease.release()
        self.lease = self.leased = None

    @rule()
    def collect(self) -> None:
        self.catalogue.gc()
        needed = {blob for subject in self._reachable() for blob in self.files[subject]}
        assert set(self.catalogue.store.digests()) == needed, "gc keeps what is needed, and nothing else"

    @rule()
    def reopen(self) -> None:
        self.catalogue.close()
        self.catalogue = Catalogue.open(self.settings)

    # ------------------------------------------------------------------------------------------ invariants
    def _reachable(self) -> set[Digest]:
        found = {d for entry in self.entries.values() for d in entry.versions.values()}
        return found | ({self.leased} if self.leased else set())

    @invariant()
    def nothing_reachable_is_lost(self) -> None:
        for subject in self._reachable():
            artefact = self.catalogue.artefact(subject)
            if artefact.kind == "model":
                self.catalogue.artefact(ModelIdentity.from_json(artefact.identity).head)
            assert all(self.catalogue.store.has(blob) for blob in self.files[subject])

    @invariant()
    def versions_and_aliases_are_those_of_the_model(self) -> None:
        for name, entry in self.entries.items():
            assert {v.number: v.subject for v in self.catalogue.versions(name)} == entry.versions
            assert self.catalogue.aliases(name) == {alias: stack[-1] for alias, stack in entry.aliases.items()}
            if entry.versions:
                production = entry.aliases.get("production", [max(entry.versions)])[-1]
                assert self.catalogue.version(Reference(name)).number == production
        assert self.catalogue.names() == [name for name in NAMES if self.entries[name].versions]

    @invariant()
    def history_is_only_appended_to(self) -> None:
        for name in NAMES:
            for alias in ALIASES:
                now = self.catalogue.alias_history(name, alias)
                before = self.history.get((name, alias), [])
                assert now[: len(before)] == before
                self.history[name, alias] = now

    @invariant()
    def verify_is_clean(self) -> None:
        report = self.catalogue.verify()
        assert report.clean, report.problems


TestCatalogue = CatalogueMachine.TestCase
TestCatalogue.settings = settings(
    max_examples=20,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
