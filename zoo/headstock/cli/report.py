"""`headstock report`: what a run measured, as a page, as Markdown or as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import click

from headstock.errors import InvalidInput


@click.command("report")
@click.argument("reference", metavar="NAME[:VERSION|:ALIAS]")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["markdown", "html", "json"]),
    help="Default: html with --open or an --out that ends in .html, else markdown.",
)
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a file.")
@click.option("--open", "open_", is_flag=True, help="Show the page in the browser; writes NAME-V.html without --out.")
def command(reference: str, format_: str | None, out: Path | None, open_: bool) -> None:
    """Show what the run behind a model measured. NAME alone means its newest version.

    The HTML page is one file that loads nothing from anywhere.
    """
    from headstock.catalogue import Catalogue
    from headstock.report.page import html_page, markdown
    from headstock.report.read import read_report

    if open_ and format_ not in (None, "html"):
        raise InvalidInput(f"--open shows a page, and --format {format_} makes none", fix="--format html")
    page = open_ or (out is not None and out.suffix in (".html", ".htm"))
    chosen = format_ or ("html" if page else "markdown")
    with Catalogue.open(create=False) as catalogue:
        version, report = read_report(catalogue, reference)
    if chosen == "json":
        text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    else:
        text = html_page(version, report) if chosen == "html" else markdown(version, report)
    target = out or (Path(f"{version.name}-{version.number}.html") if open_ else None)
    if target is None:
        click.echo(text, nl=False)
        return
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"cannot write the report to {target.name!r}: {error.strerror}") from error
    click.echo(f"wrote {target}", err=True)
    if open_:
        click.launch(str(target.resolve()))
