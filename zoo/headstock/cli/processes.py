"""Starts the processes that train together: this very command again, once for each."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from headstock.errors import HeadstockError

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune import Recipe, Table
    from headstock.plugin_host import PluginHost


def others_lead(
    catalogue: Catalogue, host: PluginHost, recipe: Recipe, table: Table, name: str, replay: Table | None = None
) -> bool:
    """Whether nothing is left to do here: processes were started for the recipe, or this one has assisted another.

    Raises `HeadstockError` as `launch_processes` does.
    """
    from headstock.finetune import assist
    from headstock.finetune.launch import leads

    if launch_processes(recipe):
        return True
    if leads():
        return False
    assist(catalogue, host, recipe, table, name, replay)
    return True


def launch_processes(recipe: Recipe) -> bool:
    """Run the recipe in as many processes as it says and wait; False where this process is enough, or one of them.

    Raises `HeadstockError` if they fail; what was wrong has been printed by then.
    """
    from headstock.finetune.launch import launched

    if recipe.compute is None or recipe.compute.processes == 1 or launched() > 1:
        return False
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(recipe.compute.processes)]
    again = [sys.executable, "-m", "headstock", *sys.argv[1:]]
    command = [sys.executable, "-m", *launcher, "--no-python", *again]
    status = subprocess.run(command, check=False).returncode
    if status:
        raise HeadstockError(
            f"{recipe.compute.processes} processes were started and at least one failed ({status})",
            fix="what it printed above, or --processes 1",
        )
    return True
