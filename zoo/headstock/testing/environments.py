"""A fresh environment that sees this one's libraries: for tests of installing and uninstalling, quick and offline."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_OFFLINE = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check", "--quiet")


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment without pip of its own."""

    folder: Path

    @property
    def bin(self) -> Path:
        """Folder of its programs."""
        return self.folder / "bin"

    def install(self, *what: str | Path) -> None:
        """Install wheels or projects (`-e`, DIR) without their dependencies. Raises `CalledProcessError`."""
        # What the other environment has is no reason not to install it here.
        self._pip("install", *_OFFLINE, "--ignore-installed", "--no-compile", *map(str, what))

    def uninstall(self, distribution: str) -> None:
        """Remove a distribution."""
        self._pip("uninstall", "--disable-pip-version-check", "--quiet", "--yes", distribution)

    def run(
        self, *command: str | Path, cwd: Path, variables: Mapping[str, str] | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of this environment (or a path) to its end, with its output as text."""
        return subprocess.run(
            list(map(str, command)),
            cwd=cwd,
            env=self.variables(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def variables(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Environment variables under which its programs come first."""
        inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        path = f"{self.bin}{os.pathsep}{inherited.get('PATH', '')}"
        return {**inherited, "PATH": path, "VIRTUAL_ENV": str(self.folder), **(more or {})}

    def _pip(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), *arguments]
        done = subprocess.run(
            command, env=self.variables(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"pip {arguments[0]} failed:\n{done.stdout}{done.stderr}")


def make_environment(folder: Path, *, editable: bool = True) -> Environment:
    """An environment in `folder` that also sees what is installed in the running one.

    `editable=False` leaves out what the running one has as editable installs: their code, not their metadata, which
    stands aside for what is installed here. With them come the running one's programs.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    (own,) = (folder / "lib").glob("python*/site-packages")
    # A line that is a path adds it; `addsitedir` also follows the path files in there, which is how editables work.
    lines = [f"import site; site.addsitedir({p!r})" if editable else p for p in site.getsitepackages()]
    (own / "libraries.pth").write_text("\n".join(lines) + "\n")
    if editable:
        _copy_programs(Path(sys.executable).parent, folder / "bin")
    return Environment(folder)


def _copy_programs(theirs: Path, ours: Path) -> None:
    """Python programs of the running environment, to be run by the new one's interpreter."""
    start = f"#!{theirs}/python".encode()
    for path in theirs.iterdir():
        if path.is_file() and not path.is_symlink() and not (ours / path.name).exists():
            first, _, rest = path.read_bytes().partition(b"\n")
            if first.startswith(start):
                (ours / path.name).write_bytes(f"#!{ours}/python\n".encode() + rest)
                (ours / path.name).chmod(0o755)
