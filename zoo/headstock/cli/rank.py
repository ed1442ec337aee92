"""`headstock rank`: which backbone to grow a model on, before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headstock.cli.column_options import column_options, told_columns
from headstock.cli.output import format_option, table

if TYPE_CHECKING:
    from headstock.ranking.rank import Ranking, Scored
    from headstock.ranking.verdict import Estimate

HEADERS = (
    "BACKBONE", "REGRET", "QUALITY", "BEST", "KNN", "LOGME", "PROBE", "SIZE RANK", "PARAMETERS", "MS/ROW", "LICENCE",
    "SECONDS",
)  # fmt: skip


@click.command("rank")
@click.option(
    "--data",
    metavar="FILE|FOLDER",
    type=click.Path(path_type=Path),
    required=True,
    help="Table (CSV, TSV, JSONL, Parquet) or folder.",
)
@click.option("--head", required=True, metavar="TYPE", help="Head type that is to be trained.")
@click.option("--backbone", metavar="NAME", multiple=True, help="Only this one; repeatable.  [default: all that fit]")
@click.option(
    "--may",
    type=click.Choice(["research", "internal", "commercial"]),
    help="Only backbones whose licences allow this purpose.",
)
@click.option("--rows", type=click.IntRange(8), default=1000, show_default=True, help="Training rows to look at.")
@click.option("--validation", type=float, default=0.2, show_default=True, help="Share of rows left for a fine-tune.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of split, draw and folds.")
@column_options
@format_option
def command(
    data: Path,
    head: str,
    backbone: tuple[str, ...],
    may: str | None,
    rows: int,
    validation: float,
    seed: int,
    format_: str,
    **asked: Any,
) -> None:
    """Order backbones for a data set, best first.

    Each backbone sees the training rows once; a fine-tune finds these features in the cache. The order is the mean
    rank over nearest neighbours (leave-one-out), LogME and a cross-validated linear probe. REGRET is what choosing a
    backbone is expected to lose in QUALITY against the best one. SIZE RANK is the static list, largest first: the
    baseline to beat.

    \b
    headstock rank --data tickets.csv --head text-classification
    headstock rank --data photos/ --head image-classification --may commercial
    """
    from headstock.catalogue import Catalogue
    from headstock.finetune import Options, read_table
    from headstock.plugin_host import open_host
    from headstock.ranking.rank import rank

    found = read_table(data)
    options = Options(
        columns=told_columns(asked),
        split_column=asked["split_column"],
        group_column=asked["group_column"],
        time_column=asked["time_column"],
        validation=validation,
        seed=seed,
    )

    def progress(name: str, done: int, total: int) -> None:
        if format_ == "table" and done == total:
            click.echo(f"{name}: ran on {total} rows", err=True)

    with Catalogue.open(create=False) as catalogue:
        ranking = rank(
            catalogue, open_host(), found, head,
            backbones=backbone, purpose=may, options=options, most=rows, progress=progress,
        )  # fmt: skip
    if format_ == "json":
        click.echo(json.dumps(_record(ranking), indent=2, ensure_ascii=False))
    elif format_ == "quiet":
        for scored in ranking.order:
            click.echo(scored.candidate.version.name)
    else:
        _print(ranking)


def _print(ranking: Ranking) -> None:
    for note in ranking.notes:
        click.echo(note, err=True)
    for one in ranking.left_out:
        click.echo(f"left out: {one.name}: {one.reason}", err=True)
    click.echo(table(HEADERS, [_row(scored) for scored in ranking.order]))
    first, static = ranking.order[0], ranking.static
    unit = "accuracy" if ranking.classes is not None else "R2"
    click.echo(f"quality and regret: {unit}, from {ranking.rows} training rows, with 95 % bootstrap intervals")
    click.echo(
        f"static list would take {static.candidate.version.name}, expected regret {_estimate(static.standing.regret)}"
    )
    name = first.candidate.version.name
    click.echo(f"next:\n  headstock fine-tune --backbone {name} --head {ranking.head} --data DATA --name NAME")


def _row(scored: Scored) -> list[str]:
    standing = scored.standing
    return [
        str(scored.candidate.version),
        _estimate(standing.regret),
        _estimate(standing.quality),
        f"{standing.best:.0%}",
        f"{scored.knn:.3f}",
        f"{scored.logme:.3f}",
        f"{scored.probe:.3f}",
        f"{scored.size_rank:g}",
        f"{scored.candidate.parameters:,}",
        f"{scored.row_seconds * 1000:.2f}",
        scored.candidate.licence.value,
        f"{scored.seconds:.1f}",
    ]


def _estimate(found: Estimate) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _record(ranking: Ranking) -> dict[str, Any]:
    return {
        "head": ranking.head,
        "data": ranking.data,
        "rows": ranking.rows,
        "classes": ranking.classes,
        "static": ranking.static.candidate.version.name,
        "order": [_candidate(scored) for scored in ranking.order],
        "left_out": [{"name": one.name, "reason": one.reason} for one in ranking.left_out],
        "notes": list(ranking.notes),
    }


def _candidate(scored: Scored) -> dict[str, Any]:
    from dataclasses import asdict

    candidate, standing = scored.candidate, scored.standing
    return {
        "name": candidate.version.name,
        "number": candidate.version.number,
        "digest": candidate.version.subject,
        "tap": candidate.tap.name,
        "quality": asdict(standing.quality),
        "regret": asdict(standing.regret),
        "best": standing.best,
        "scores": {"knn": scored.knn, "logme": scored.logme, "probe": scored.probe},
        "mean_rank": scored.mean_rank,
        "size_rank": scored.size_rank,
        "parameters": candidate.parameters,
        "row_seconds": scored.row_seconds,
        "licence": {"verdict": candidate.licence.value, "reason": candidate.licence.reason},
        "seconds": scored.seconds,
        "features": {"computed": scored.computed, "cached": scored.cached},
    }
