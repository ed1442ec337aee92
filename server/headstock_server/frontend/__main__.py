"""`python -m headstock_server.frontend FD ADDRESS MESSAGE_BYTES`: one front end, started by the server alone."""

from __future__ import annotations

import asyncio
import sys

from headstock_server.frontend.process import run

if __name__ == "__main__":
    descriptor, address, message_bytes = sys.argv[1:]
    sys.exit(asyncio.run(run(int(descriptor), address, int(message_bytes))))
