"""`python -m headstock_server`: the same as `headstock serve`."""

from headstock.console import run
from headstock_server.cli import serve

if __name__ == "__main__":
    run(serve, "headstock serve", prog_name="python -m headstock_server")
