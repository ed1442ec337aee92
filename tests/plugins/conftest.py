"""Throw-away plugin distributions on disk, found by `sys.path` as pip would have installed them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headstock.plugin_host import PluginHost
from headstock.settings import Settings

_count = itertools.count()

COMMAND_LINE = "from headstock.cli.main import main; main()"


@dataclass
class Site:
    """A folder like `site-packages`, a HEADSTOCK_HOME, and ways to look at both."""

    folder: Path
    home: Path
    monkeypatch: pytest.MonkeyPatch
    environment: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        name: str,
        tables: str = "",
        plugin: str = "",
        *,
        distribution: str | None = None,
        head: str | None = None,
        init: str = "",
        entry: str | None = None,
    ) -> str:
        """Install a distribution with one plugin and return its package's name, which is new every time.

        `head` replaces the manifest's first lines; `tables` follow them; `plugin` is the hook module.
        """
        package = f"{name.replace('-', '_')}_{next(_count)}"
        distribution = distribution or name
        if head is None:
            head = f'name = "{name}"\napi = ">=1.0,<2"\nlicence = "MIT"\n'
        folder = self.folder / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(textwrap.dedent(init))
        (folder / "headstock.toml").write_text(head + textwrap.dedent(tables))
        (folder / "plugin.py").write_text("from headstock.hookspecs import *\n" + textwrap.dedent(plugin))
        info = self.folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[headstock]\n{name} = {entry or package}\n")
        return package

    def settings(self) -> Settings:
        """Settings of this home and environment."""
        return Settings.from_environment({"HEADSTOCK_HOME": str(self.home), **self.environment})

    def host(self) -> PluginHost:
        """A host that sees this folder, in this process."""
        self.monkeypatch.syspath_prepend(str(self.folder))
        return PluginHost(self.settings())

    def run(self, *arguments: str, code: str = COMMAND_LINE) -> subprocess.CompletedProcess[str]:
        """The command line in a process of its own that sees this folder."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "HEADSTOCK_HOME": str(self.home),
            "HEADSTOCK_PLUGIN_IMPORT_SECONDS": "10",
            **self.environment,
        }
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An empty site; each test's distributions vanish with it."""
    (tmp_path / "site").mkdir()
    return Site(tmp_path / "site", tmp_path / "home", monkeypatch)
