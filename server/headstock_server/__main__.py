"""`python -m headstock_server`: the same as `headstock serve`."""

from headstock_server.cli import serve

if __name__ == "__main__":
    serve(prog_name="python -m headstock_server")
