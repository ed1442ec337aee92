"""`headstock serve` with engine settings that its command line does not offer, for benchmarks that compare policies.

Takes one argument of JSON: `{"models": [...], "engine": {...}}`, the latter fields of `EngineOptions`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys


def main() -> None:
    """Serve until SIGTERM."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from headstock.settings import Settings
    from headstock_server import app
    from headstock_server.engine import EngineOptions

    asked = json.loads(sys.argv[1])
    options = app.ServeOptions("127.0.0.1:0", models=asked["models"], engine=EngineOptions(**asked["engine"]))
    asyncio.run(app.serve(Settings.from_environment(), options, lambda a: print(f"listening on {a}", flush=True)))


if __name__ == "__main__":
    main()
