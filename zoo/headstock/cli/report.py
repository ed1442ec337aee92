"""`headstock report`: what a run measured, as a page, as Markdown or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headstock.cli.out_file import out_option, write_out
from headstock.errors import InvalidInput

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.records import Version


@click.command("report")
@click.argument("reference", metavar="NAME[:VERSION|:ALIAS]")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["markdown", "html", "json"]),
    help="Default: html with --open or an --out that ends in .html, else markdown.",
)
@out_option
@click.option("--open", "open_", is_flag=True, help="Show the page in the browser; writes NAME-V.html without --out.")
@click.option(
    "--price",
    is_flag=True,
    help="Train what the price of sharing lacks, as NAME-head, NAME-lora and NAME-full, and measure all again.",
)
@click.option(
    "--scratch", is_flag=True, help="Train the same from random weights, as NAME-scratch, however long it takes."
)
@click.option(
    "--data", metavar="FILE|FOLDER", type=click.Path(path_type=Path), help="The model's own data, for these two."
)
def command(
    reference: str, format_: str | None, out: Path | None, open_: bool, price: bool, scratch: bool, data: Path | None
) -> None:
    """Show what the run behind a model measured. NAME alone means its newest version.

    The HTML page is one file that loads nothing from anywhere.

    \b
    headstock report tickets --open
    headstock report tickets --price --data tickets.csv
    """
    from headstock.catalogue import Catalogue
    from headstock.report.more import with_siblings
    from headstock.report.page import html_page, markdown
    from headstock.report.read import read_report

    if open_ and format_ not in (None, "html"):
        raise InvalidInput(f"--open shows a page, and --format {format_} makes none", fix="--format html")
    page = open_ or (out is not None and out.suffix in (".html", ".htm"))
    chosen = format_ or ("html" if page else "markdown")
    if (price or scratch) and data is None:
        raise InvalidInput(f"--{'price' if price else 'scratch'} trains, and needs the model's data", fix="--data FILE")
    with Catalogue.open(create=False) as catalogue:
        version, report = read_report(catalogue, reference)
        if data is not None:
            report = _asked(catalogue, version, report, data, price=price, scratch=scratch)
        report = with_siblings(catalogue, report)
    if chosen == "json":
        text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    else:
        text = html_page(version, report) if chosen == "html" else markdown(version, report)
    target = out or (Path(f"{version.name}-{version.number}.html") if open_ else None)
    if target is None:
        click.echo(text, nl=False)
        return
    write_out(target, text, "report")
    click.echo(f"wrote {target}", err=True)
    if open_:
        click.launch(str(target.resolve()))


def _asked(
    catalogue: Catalogue, version: Version, report: Mapping[str, Any], data: Path, *, price: bool, scratch: bool
) -> Mapping[str, Any]:
    """The report with what is trained and measured only when it is asked for."""
    from headstock.cli.fine_tune_progress import open_observer
    from headstock.finetune import read_table
    from headstock.plugin_host import open_host
    from headstock.report.more import with_price, with_scratch

    table, host = read_table(data), open_host()
    if scratch:
        report = with_scratch(catalogue, host, version, report, table, open_observer(verbose=False, quiet=False))
    if price:
        report = with_price(catalogue, host, version, report, table, open_observer(verbose=False, quiet=False))
    return report
