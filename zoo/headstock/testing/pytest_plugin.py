"""The contract kit as pytest tests, one per promise: a marker that names plugins and a fixture that holds a promise.

@pytest.mark.headstock_plugin("headstock-acme")
def test_promise(headstock_promise):
    headstock_promise.hold()
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from headstock.testing.plugin_checks import PluginReport
    from headstock.testing.results import Result

MARKER, FIXTURE = "headstock_plugin", "headstock_promise"

_reports = pytest.StashKey["dict[tuple[str, bool], PluginReport]"]()


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise of one installed plugin; the kit runs once per plugin, when the first of them is asked for."""

    plugin: str
    subject: str
    """`plugin`, `family NAME` or `head NAME`."""
    check: str
    repeat: bool
    """False where every checkpoint is exported once only."""
    config: pytest.Config

    def result(self) -> Result:
        """What the kit found out about it."""
        reports = self.config.stash.setdefault(_reports, {})
        key = (self.plugin, self.repeat)
        if key not in reports:
            reports[key] = _run(*key)
        return next(r for r in reports[key].results if (r.subject, r.check) == (self.subject, self.check))

    def hold(self) -> None:
        """Fail the test unless the promise holds; skip it where it does not apply."""
        from headstock.testing.results import NOT_TRIED

        __tracebackhide__ = True
        result = self.result()
        if not result.passed:
            pytest.fail(f"{self.subject}: {self.check}: {result.detail}", pytrace=False)
        if result.detail.startswith(NOT_TRIED):
            pytest.skip(result.detail)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, for `--strict-markers`."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(*names, repeat=True): run the contract kit on these installed plugins; "
        "repeat=False exports every checkpoint once only, in half of the time",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per promise of the plugins that the marker names; nothing of a plugin is imported for that."""
    if FIXTURE not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker(MARKER)
    if marker is None or not all(isinstance(name, str) for name in marker.args):
        pytest.fail(f'{metafunc.definition.name} uses {FIXTURE} without @pytest.mark.{MARKER}("PLUGIN")', pytrace=False)
    repeat = bool(marker.kwargs.get("repeat", True))
    found = [promise for name in marker.args for promise in _promises(name, repeat, metafunc.config)]
    several = len(marker.args) > 1
    ids = [f"{p.plugin}-{p.subject}-{p.check}" if several else f"{p.subject}-{p.check}" for p in found]
    metafunc.parametrize(FIXTURE, found, ids=[text.replace(" ", "-") for text in ids])


def _promises(plugin: str, repeat: bool, config: pytest.Config) -> Iterator[Promise]:
    from headstock.plugin_host import open_host
    from headstock.testing.plugin_checks import promises

    state = next((s for s in open_host().states() if s.name == plugin), None)
    if state is None:
        pytest.fail(f"plugin {plugin!r} is not installed (try: pip install --no-deps -e .)", pytrace=False)
    if state.manifest is None:
        pytest.fail(f"plugin {plugin!r} is {state.state}: {state.reason} (try: {state.fix})", pytrace=False)
    for subject, check in promises(state.manifest):
        yield Promise(plugin, subject, check, repeat, config)


def _run(plugin: str, repeat: bool) -> PluginReport:
    from headstock.plugin_host import open_host
    from headstock.testing.plugin_checks import check_plugin

    return check_plugin(open_host(), plugin, repeat=repeat)
