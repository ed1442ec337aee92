"""The pytest plugin: one test per promise, and a mistake in its use is told before anything runs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from headstock.testing.head_checks import HEAD_CHECKS
from headstock.testing.plugin_checks import PLUGIN_CHECKS

if TYPE_CHECKING:
    from conftest import Site

TABLE = 'description = "x"\n[[heads]]\nname = "acme"\ntask = "classification"\nmodality = "text"\ndescription = "x"\n'
HEAD = """
from headstock.heads import PrototypeHead
class Acme(PrototypeHead):
    name, modality, tap = "acme", "text", "mean"
@hookimpl
def head_types(): return [Acme()]
"""
TEST = """
import pytest

@pytest.mark.headstock_plugin("{name}")
def test_promise(headstock_promise):
    headstock_promise.hold()
"""


def run_pytest(site: Site, test: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest on one file, in a process of its own."""
    (site.folder / "test_acme.py").write_text(test)
    # No plugins but ours: whatever else is installed here has its own ideas of warnings.
    site.environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    code = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    plugin = ("-p", "headstock.testing.pytest_plugin", "-p", "no:cacheprovider", "--strict-markers")
    return site.run(*plugin, "-v", *arguments, str(site.folder / "test_acme.py"), code=code)


def test_every_promise_is_a_test_of_its_own(site: Site) -> None:
    """Named after what it is about; what does not apply is skipped, and the kit runs once."""
    site.add("acme", TABLE, HEAD)
    done = run_pytest(site, TEST.format(name="acme"))
    assert done.returncode == 0, done.stdout
    assert "test_promise[plugin-import-cost] PASSED" in done.stdout
    assert "test_promise[head-acme-loss-decreases] SKIPPED" in done.stdout
    assert f"{len(PLUGIN_CHECKS) + len(HEAD_CHECKS) - 1} passed, 1 skipped" in done.stdout


def test_a_broken_promise_fails_its_own_test_with_the_reason(site: Site) -> None:
    """And no traceback of ours."""
    site.add("acme", TABLE, HEAD.replace("[Acme()]", "[Acme()]\nAcme.metrics = lambda *a: []"))
    done = run_pytest(site, TEST.format(name="acme"))
    assert done.returncode == 1
    assert "head acme: metrics: metrics() begins with []; expected 'accuracy'" in done.stdout
    assert "1 failed" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_plugin_that_does_not_load_fails_every_promise(site: Site) -> None:
    """None is passed over as if it held."""
    site.add("acme", TABLE, "raise RuntimeError('half built')")
    done = run_pytest(site, TEST.format(name="acme"))
    assert f"{len(PLUGIN_CHECKS) + len(HEAD_CHECKS)} failed" in done.stdout
    assert "the plugin does not load" in done.stdout
    assert "half built" in done.stdout


def test_collecting_imports_nothing_of_the_plugin(site: Site) -> None:
    """Which promises there are follows from the manifest."""
    package = site.add("acme", TABLE, "raise SystemExit")
    done = run_pytest(site, TEST.format(name="acme"), "--collect-only")
    assert done.returncode == 0, done.stdout
    assert f"{len(PLUGIN_CHECKS) + len(HEAD_CHECKS)} tests collected" in done.stdout
    assert package not in done.stdout


@pytest.mark.parametrize(
    "test, reason",
    [
        (TEST.format(name="nobody"), "plugin 'nobody' is not installed (try: pip install --no-deps -e .)"),
        ("def test_promise(headstock_promise): pass", "without @pytest.mark.headstock_plugin"),
    ],
)
def test_a_mistake_in_its_use_is_told(site: Site, test: str, reason: str) -> None:
    """In one line."""
    done = run_pytest(site, test)
    assert done.returncode == 2, done.stdout
    assert reason in done.stdout + done.stderr


def test_it_is_registered_and_costs_other_suites_little() -> None:
    """Every pytest in an environment with Headstock loads it."""
    code = "import sys, headstock.testing.pytest_plugin; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"numpy", "torch", "onnxruntime", "transformers", "pydantic", "sqlalchemy"}.isdisjoint(done.stdout.split())
