"""`headstock pretrain`: from a table without labels to a checkpoint that `headstock pull` takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from headstock.preprocess.table_options import ColumnType
    from headstock_tabular.pretrain import PretrainReport


@click.command("pretrain")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="New folder to write.")
@click.option(
    "--family",
    type=click.Choice(["tabular"]),
    default="tabular",
    show_default=True,
    help="Family of the checkpoint; there is one for tables.",
)
@click.option(
    "--network",
    type=click.Choice(["ft-transformer", "mlp"]),
    default="ft-transformer",
    show_default=True,
    help="A transformer over columns, or a perceptron over all of them.",
)
@click.option(
    "--ignore", multiple=True, metavar="COLUMN", help="A label or an id: rows may have it, the network never sees it."
)
@click.option("--numeric", multiple=True, metavar="COLUMN", help="A column of numbers, whatever it looks like.")
@click.option("--categorical", multiple=True, metavar="COLUMN", help="A column of categories, such as numeric codes.")
@click.option("--date", multiple=True, metavar="COLUMN", help="A column of dates.")
@click.option("--width", type=int, help="Features of a row.  [default: 64 for ft-transformer, 128 for mlp]")
@click.option("--layers", type=int, help="Layers of the network.  [default: 3]")
@click.option("--epochs", type=click.IntRange(1), default=60, show_default=True, help="Passes over the rows.")
@click.option("--mask", type=float, default=0.3, show_default=True, help="Share of columns to mask in each row.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights, masks and the split.")
def pretrain_command(
    file: Path,
    out: Path,
    family: str,
    network: str,
    ignore: Sequence[str],
    numeric: Sequence[str],
    categorical: Sequence[str],
    date: Sequence[str],
    width: int | None,
    layers: int | None,
    epochs: int,
    mask: float,
    seed: int,
) -> None:
    """Pretrain a table backbone on FILE (CSV, TSV, JSONL or Parquet), without labels.

    Columns are numbers, categories or dates, judged by their values. Some are masked in every row, and the network
    learns to tell them from the others. Name the label column with --ignore.
    """
    from headstock.data import read_table
    from headstock_tabular.pretrain import PretrainOptions, pretrain

    said: tuple[tuple[ColumnType, Sequence[str]], ...] = (
        ("numeric", numeric),
        ("categorical", categorical),
        ("date", date),
        ("ignored", ignore),
    )
    told = {name: type_ for type_, names in said for name in names}
    sizes = {name: size for name, size in (("width", width), ("layers", layers)) if size is not None}
    options = PretrainOptions(network=network, sizes=sizes, epochs=epochs, mask=mask, seed=seed)
    every = max(1, epochs // 10)

    def progress(epoch: int, loss: float) -> None:
        if epoch % every == 0:
            click.echo(f"epoch {epoch:>4}  held-out loss {loss:.4f}", err=True)

    report = pretrain(read_table(file), out, options, told=told, progress=progress)
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(_summary(report))
    click.echo(f"next: headstock pull path:{out} --name NAME")


def _summary(report: PretrainReport) -> str:
    parts = [f"{report.rows} rows"]
    if report.r2 is not None:
        parts.append(f"masked numbers R2 {report.r2:.2f} (0: their mean)")
    if report.accuracy is not None and report.commonest is not None:
        parts.append(f"masked categories {report.accuracy:.0%} right ({report.commonest:.0%}: the commonest)")
    return ", ".join(parts)
