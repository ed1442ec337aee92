"""`python -m headstock_server.frontend FD ADDRESS MESSAGE_BYTES CARRIER`: one front end; the server starts it."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

from headstock_server.frontend.process import run
from headstock_server.transport.server import Carrier

if __name__ == "__main__":
    descriptor, address, message_bytes, carrier = sys.argv[1:]
    sys.exit(asyncio.run(run(int(descriptor), address, int(message_bytes), cast(Carrier, carrier))))
