"""`headstock update`: add rows to a model, or erase some, exactly and without training again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from headstock.cli.continued_lines import change_of
from headstock.cli.output import emit_version, format_option
from headstock.errors import InvalidInput
from headstock.names import Reference

if TYPE_CHECKING:
    from headstock.finetune.incremental.solve import Solver
    from headstock.finetune.incremental.update import Updated

_FILE = click.Path(path_type=Path)


@click.command("update")
@click.argument("name", metavar="NAME[:VERSION]")
@click.option("--add", metavar="FILE", type=_FILE, help="Rows to add; labels that are new add classes.")
@click.option("--erase", metavar="FILE", type=_FILE, help="Rows to erase: all that have an input of this file.")
@click.option("--refit", metavar="FILE", type=_FILE, help="Refit a trained head in closed form, on its own data.")
@click.option("--solver", type=click.Choice(["lda", "ridge"]), help="With --refit.  [default: lda; ridge for numbers]")
@click.option("--data-licence", metavar="ID", default="", help="Licence of the rows, as you state it: an SPDX id.")
@format_option
def command(
    name: str,
    add: Path | None,
    erase: Path | None,
    refit: Path | None,
    solver: str | None,
    data_licence: str,
    format_: str,
) -> None:
    """Add or erase rows of a model whose head is in closed form; the next version equals one fitted from scratch.

    \b
    headstock update tickets --refit tickets.csv
    headstock update tickets --add june.csv
    headstock update tickets --erase withdrawn.csv
    """
    given = [path for path in (add, erase, refit) if path is not None]
    if len(given) != 1:
        raise InvalidInput("expected one of --add, --erase and --refit", fix=f"headstock update {name} --add FILE")
    if solver is not None and refit is None:
        raise InvalidInput("--solver is decided when a head is refitted", fix="--refit FILE")
    if data_licence and erase is not None:
        raise InvalidInput("--data-licence is about rows that are learned from", fix="leave --data-licence out")
    from headstock.catalogue import Catalogue
    from headstock.finetune import read_table
    from headstock.finetune.incremental import update
    from headstock.plugin_host import open_host

    table = read_table(given[0])
    with Catalogue.open(create=False) as catalogue:
        host, version = open_host(), catalogue.version(Reference.parse(name))
        if add is not None:
            done = update.add_rows(catalogue, host, version, table, data_licence)
        elif erase is not None:
            done = update.erase_rows(catalogue, host, version, table)
        else:
            chosen = cast("Solver | None", solver)
            done = update.refit(catalogue, host, version, table, chosen, data_licence=data_licence)
    _print(done, format_)


def _print(done: Updated, format_: str) -> None:
    for note in done.notes:
        click.echo(note, err=True)
    emit_version(format_, done.version, done.report, lambda: _lines(str(done.version), done.report))


def _lines(version: str, report: dict[str, Any]) -> list[str]:
    change, data, lost = report["update"], report["data"], report["forgetting"]
    lines = [version, f"  {change['act']:<10} {change['rows']} rows of {data['name']}, from {change['parent']}"]
    lines += [f"  {m['name']:<10} {m['value']:.3f} [{m['low']:.3f}, {m['high']:.3f}]" for m in report["metrics"]]
    lines.append(f"  forgetting {change_of(lost)}")
    return [*lines, "next:", f"  headstock promote {version}", f"  headstock predict {version} INPUT"]
