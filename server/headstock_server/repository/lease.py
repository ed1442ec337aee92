"""A lease that follows what is loaded, so that gc leaves a running server's files alone."""

from __future__ import annotations

import os
import time
from collections.abc import Set

from headstock.catalogue import Catalogue, Lease
from headstock.digest import Digest
from headstock.errors import HeadstockError


class KeptLease:
    """One lease, taken when first needed and renewed in good time. For one thread."""

    def __init__(self, catalogue: Catalogue, seconds: float) -> None:
        self._catalogue = catalogue
        self._seconds = seconds
        self._lease: Lease | None = None
        self._digests: frozenset[Digest] = frozenset()
        self._renew_at = 0.0

    @property
    def held(self) -> bool:
        """True while there is a lease."""
        return self._lease is not None

    def keep(self, digests: Set[Digest]) -> None:
        """Protect these models and all they stand on; writes only when they changed or a third of the time is over.

        Raises what the catalogue raises; the next call takes a new lease.
        """
        now = time.monotonic()
        if self._lease is not None and digests == self._digests and now < self._renew_at:
            return
        try:
            if self._lease is None:
                self._lease = self._catalogue.lease(f"server {os.getpid()}", sorted(digests), self._seconds)
            else:
                self._lease.replace(sorted(digests))
        except HeadstockError:
            # It expired while the machine slept, say.
            self._lease = None
            raise
        self._digests, self._renew_at = frozenset(digests), now + self._seconds / 3

    def release(self) -> None:
        """Give the lease up, if there is one."""
        if self._lease is not None:
            self._lease.release()
            self._lease = None
