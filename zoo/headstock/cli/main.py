"""The `headstock` command: a lazy group, so that listing never pays for training."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from headstock import __version__
from headstock.console import run

# Command name -> (module with a click command of that name, one line of help).
BUILT_IN: dict[str, tuple[str, str]] = {
    "list": ("headstock.cli.list", "List the catalogue: backbones and models."),
    "show": ("headstock.cli.show", "Show one entry: source, digests, licences, lineage, metrics."),
    "pull": ("headstock.cli.pull", "Bring a backbone into the catalogue."),
    "variant": ("headstock.cli.variant", "Make a backbone smaller or faster, or merge a model's adapter."),
    "fine-tune": ("headstock.cli.fine_tune", "Grow a model on a backbone."),
    "distil": ("headstock.cli.distil", "Teach a model to a smaller backbone."),
    "continue": ("headstock.cli.continue_backbone", "Let a backbone learn from unlabelled data."),
    "adapt": ("headstock.cli.adapt", "Adapt a head to unlabelled data."),
    "cluster": ("headstock.cli.cluster", "Group rows that belong together."),
    "recipe": ("headstock.cli.recipe", "Write, check and compare recipes."),
    "rank": ("headstock.cli.rank", "Order backbones for a data set, before training."),
    "update": ("headstock.cli.update", "Add or erase rows of a model, exactly."),
    "predict": ("headstock.cli.predict", "Ask a model, in process or on a server."),
    "report": ("headstock.cli.report", "Show what a run measured, as a page, Markdown or JSON."),
    "diff": ("headstock.cli.diff", "Compare two models: recipes, metrics, answers."),
    "data": ("headstock.cli.data", "Look at data before it trains anything."),
    "promote": ("headstock.cli.promote", "Move an alias to a version."),
    "rollback": ("headstock.cli.rollback", "Move an alias back to where it was."),
    "remove": ("headstock.cli.remove", "Remove an entry or a version."),
    "gc": ("headstock.cli.gc", "Delete blobs that nothing needs."),
    "verify": ("headstock.cli.verify", "Check every record and blob against its digest."),
    "sign": ("headstock.cli.sign", "Export a version as a signed folder."),
    "licence": ("headstock.cli.licence", "Ask what licences allow, and why; decide what sources leave open."),
    "notice": ("headstock.cli.notice", "Print the notices that go with a version."),
    "card": ("headstock.cli.card", "Print the model card of a version."),
    "audit": ("headstock.cli.audit", "Read and check the audit log."),
    "plugins": ("headstock.cli.plugins", "List the plugins and their state."),
    "families": ("headstock.cli.families", "List the backbone families."),
    "heads": ("headstock.cli.heads", "List the head types."),
}


# Built-in commands after which other verdicts may hold, or other versions be there. Those of plugins may do anything.
_CHANGING = frozenset(
    ("pull", "variant", "fine-tune", "distil", "continue", "adapt", "cluster", "update", "remove", "gc", "licence")
)


class LazyGroup(click.Group):
    """A group that knows its commands' names and help without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Built-in commands, then those that plugin manifests declare."""
        return [*BUILT_IN, *sorted(_plugin_commands())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None if no one offers it."""
        if cmd_name in BUILT_IN:
            module = import_module(BUILT_IN[cmd_name][0])
            command: click.Command = module.command
            return command
        if cmd_name in _plugin_commands():
            from headstock.plugin_host import open_host

            return open_host().command(cmd_name)
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command table of `--help`, from names alone."""
        rows = [(name, BUILT_IN[name][1]) for name in BUILT_IN]
        rows += sorted(_plugin_commands().items())
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Click's own, but an unknown command names the nearest one."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "; see 'headstock --help'"
            raise click.UsageError(f"there is no command {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


def _plugin_commands() -> dict[str, str]:
    """Command name to help of every healthy plugin manifest; imports no plugin."""
    from headstock.plugin_host import open_host

    return {c.name: c.help for m in open_host().manifests() for c in m.commands if c.name not in BUILT_IN}


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="headstock")
def cli() -> None:
    """A model zoo of backbones and heads, served by one pass per backbone."""


@cli.result_callback()
@click.pass_context
def _leave_a_list_ready(ctx: click.Context, result: Any) -> Any:
    """Judge what a command has changed while what judges is imported anyway: the next list only reads it."""
    if ctx.invoked_subcommand in _CHANGING or ctx.invoked_subcommand not in BUILT_IN:
        from headstock.licences.column import refresh
        from headstock.settings import Settings

        refresh(Settings.from_environment())
    return result


def main() -> None:
    """Run the command line; domain errors become two lines on stderr and their exit code."""
    run(cli, "headstock")


if __name__ == "__main__":
    main()
