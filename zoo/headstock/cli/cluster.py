"""`headstock cluster`: which rows belong together, as a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headstock.cli.output import emit_version, format_option, table
from headstock.errors import InvalidInput
from headstock.names import Reference, check_name

if TYPE_CHECKING:
    from headstock.clustering import Clustered

_ROLES = ("text", "image", "audio")


@click.command("cluster")
@click.option("--backbone", metavar="NAME[:V]", required=True, help="Backbone whose vectors are clustered.")
@click.option(
    "--data", metavar="FILE|FOLDER", type=click.Path(path_type=Path), required=True, help="Rows; labels are optional."
)
@click.option("--name", required=True, help="Name of the model; an existing one gets its next version.")
@click.option("--k", default="auto", show_default=True, metavar="auto|N", help="Clusters; auto tries 2 to --most.")
@click.option("--most", type=click.IntRange(2, 200), default=20, show_default=True, help="Highest number to try.")
@click.option("--tap", metavar="TAP", help="Output with one vector per row.  [default: the backbone's own]")
@click.option("--text-column", metavar="COLUMN", help="Column with the text.  [default: guessed]")
@click.option("--image-column", metavar="COLUMN", help="Column with the images' paths.  [default: guessed]")
@click.option("--audio-column", metavar="COLUMN", help="Column with the recordings' paths.  [default: guessed]")
@click.option("--label-column", metavar="COLUMN", help="Compare the clusters with this column; it decides nothing.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the starts and the intervals.")
@click.option("--seeds", type=click.IntRange(1, 50), default=5, show_default=True, help="Starts to compare.")
@click.option("--data-licence", metavar="ID", default="", help="Licence of the data, as you state it: an SPDX id.")
@format_option
def command(
    backbone: str,
    data: Path,
    name: str,
    k: str,
    most: int,
    tap: str | None,
    label_column: str | None,
    seed: int,
    seeds: int,
    data_licence: str,
    format_: str,
    **asked: Any,
) -> None:
    """Group rows that belong together.

    K-means on the backbone's vectors. The model tells a new row's nearest cluster and shares the backbone with every
    other head; its report has the silhouette beside that of shuffled columns, how far other starts agree, and with
    --label-column the adjusted Rand index.

    \b
    headstock cluster --backbone minilm --data tickets.csv --name topics
    headstock cluster --backbone minilm --data tickets.csv --k 8 --label-column intent --name topics
    """
    check_name(name)
    number = _number(k)
    from headstock.catalogue import Catalogue
    from headstock.cli.fine_tune_progress import open_observer
    from headstock.clustering import Grouping, cluster
    from headstock.finetune import read_table
    from headstock.plugin_host import open_host

    rows = read_table(data)
    told = {role: asked[f"{role}_column"] for role in _ROLES if asked[f"{role}_column"] is not None}
    wanted = Grouping(number, most, told, label_column, tap, seed, seeds)
    observer = open_observer(verbose=False, quiet=format_ != "table")
    with Catalogue.open(create=False) as catalogue:
        made = cluster(
            catalogue, open_host(), rows, Reference.parse(backbone), name, wanted,
            observer=observer, data_licence=data_licence,
        )  # fmt: skip
    observer.end()
    emit_version(format_, made.version, {**made.report, "rows": list(made.clusters)}, lambda: _lines(made))


def _number(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 2:
        raise InvalidInput(f"--k {text!r} is no number of clusters; expected auto or 2 and more", fix="--k auto")
    return int(text)


def _lines(made: Clustered) -> list[str]:
    found = made.report["clustering"]
    scored = found["silhouette"]
    lines = [
        str(made.version),
        f"  clusters    {found['k']}" + (" (by the highest silhouette)" if found["chosen"] else ""),
        f"  silhouette  {scored['value']:.3f} [{scored['low']:.3f}, {scored['high']:.3f}], shuffled columns "
        f"{found['shuffled']:.3f}: {found['verdict']}",
    ]
    if found["stability"] is not None:
        lines.append(f"  stability   {found['stability']:.3f} (adjusted Rand index between {found['seeds']} starts)")
    if agreed := found.get("agreement"):
        lines.append(
            f"  agreement   {agreed['value']:.3f} [{agreed['low']:.3f}, {agreed['high']:.3f}] with "
            f"{agreed['column']!r} (adjusted Rand index)"
        )
    rows = [
        [one["name"], str(one["rows"]), one.get("label", ""), (one["examples"] or [""])[0]] for one in found["clusters"]
    ]
    return [*lines, table(["CLUSTER", "ROWS", "COMMONEST LABEL", "NEAREST TO THE MIDDLE"], rows)]
