"""`headstock distil`: teach what a model knows to a smaller backbone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from headstock.cli.output import emit_version, format_option, table
from headstock.cli.recipe_options import options_of, training_options
from headstock.names import Reference, check_name

_SIDES = ("teacher", "student", "undistilled")


@click.command("distil")
@click.option("--teacher", metavar="NAME[:V]", required=True, help="Classification model to learn from.")
@click.option("--student", metavar="NAME[:V]", required=True, help="Backbone that learns.")
@click.option(
    "--data",
    metavar="FILE|FOLDER",
    type=click.Path(path_type=Path),
    required=True,
    help="Rows to learn on; the label may be missing in some, or in all.",
)
@click.option("--name", required=True, help="Name of the model; an existing one gets its next version.")
@click.option("--temperature", type=float, default=4.0, show_default=True, help="Softens both models' answers.")
@click.option("--alpha", type=float, default=0.7, show_default=True, help="Weight of the teacher against the labels.")
@click.option("--any-size", is_flag=True, help="Also teach a student that is not smaller than its teacher.")
@training_options("lp-ft")
@click.option("--data-licence", metavar="ID", default="", help="Licence of the data, as you state it: an SPDX id.")
@click.option("--verbose", is_flag=True, help="One line per epoch instead of a bar.")
@format_option
def command(
    teacher: str,
    student: str,
    data: Path,
    name: str,
    temperature: float,
    alpha: float,
    any_size: bool,
    data_licence: str,
    verbose: bool,
    format_: str,
    **asked: Any,
) -> None:
    """Teach what a model knows to a smaller backbone.

    The student learns the teacher's answers beside the labels (Hinton et al. 2015) and becomes the next version of
    --name. The same student is trained on the labels alone, to compare.

    \b
    headstock distil --teacher tickets --student tiny --data rows.csv --name tickets-tiny
    """
    check_name(name)
    from headstock.catalogue import Catalogue
    from headstock.cli.fine_tune_progress import open_observer, resumable
    from headstock.cli.processes import others_lead
    from headstock.finetune import fine_tune, read_table
    from headstock.finetune.distilled import plan_distilled
    from headstock.plugin_host import open_host

    rows = read_table(data)
    with Catalogue.open(create=False) as catalogue:
        host = open_host()
        recipe = plan_distilled(
            catalogue, host, rows, Reference.parse(teacher), Reference.parse(student), options_of(asked),
            temperature=temperature, alpha=alpha, any_size=any_size,
        )  # fmt: skip
        if others_lead(catalogue, host, recipe, rows, name):
            return
        observer = open_observer(verbose=verbose, quiet=format_ != "table")
        with resumable(observer):
            outcome = fine_tune(catalogue, host, recipe, rows, name, observer=observer, data_licence=data_licence)
    version = outcome.version
    emit_version(
        format_,
        version,
        {"head": outcome.head, "fresh": outcome.fresh, **outcome.report},
        lambda: [
            str(version),
            *distilled_lines(outcome.report["distillation"]),
            *("next:", f"  headstock promote {version}", f"  headstock predict {version} INPUT"),
        ],
    )


def distilled_lines(found: Mapping[str, Any]) -> list[str]:
    """Teacher, student and the student untaught side by side, and what the student saves."""
    cost = found["cost"]
    costs = {side: (f"{cost[f'{side}_bytes'] / 1e6:.2f} MB", f"{cost[f'{side}_seconds_per_row'] * 1e3:.2f} ms")
             for side in ("teacher", "student")}  # fmt: skip
    costs["undistilled"] = costs["student"]
    cells = [
        [side, f"{rate['value']:.3f} [{rate['low']:.3f}, {rate['high']:.3f}]", *costs[side]]
        for side in _SIDES
        if (rate := found["accuracy"].get(side)) is not None
    ]
    lines = [table(["MODEL", "ACCURACY", "GRAPH", "PER ROW"], cells)]
    if (gain := found.get("against_undistilled")) is not None:
        lines.append(f"distilling  {gain['value']:+.3f} [{gain['low']:.3f}, {gain['high']:.3f}] against labels alone")
    lines.append(
        f"student     {cost['size_ratio']:.2f} of the teacher's size, {cost['time_ratio']:.2f} of its time per row"
    )
    lines.append(
        f"rows        {found['labelled']} with a label, {found['unlabelled']} without; accuracy on {found['rows']} "
        f"against {found['truth']}"
    )
    return lines
