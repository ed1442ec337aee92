"""When to try again: a policy that is data, a budget that is shared, and one pure decision."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass

from headstock_client.errors import ClientError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon."""

    attempts: int = 3
    """Most attempts of one call, the first included; 1 never retries."""
    first_delay: float = 0.05
    """Seconds before the first retry where the server named none; doubles with each."""
    longest_delay: float = 2.0
    """Most seconds before a retry."""
    jitter: float = 0.2
    """Share by which a delay varies, so that refused callers do not come back as one wave."""

    def delay(self, failures: int, error: ClientError, uniform: float) -> float:
        """Seconds to wait after that many failures; `uniform` is in [0, 1)."""
        wanted = min(self.first_delay * 2.0 ** (failures - 1), self.longest_delay)
        if error.retry_after is not None:
            # Coming back earlier than the server asked would only be refused again, so jitter adds here.
            return max(wanted, error.retry_after) * (1 + self.jitter * uniform)
        return wanted * (1 + self.jitter * (2 * uniform - 1))


class RetryBudget:
    """Stops retries when most calls fail: each failure costs one token, each success gives a tenth back."""

    def __init__(self, tokens: float = 10.0) -> None:
        """Start full; retries stop below half."""
        self._most = self._tokens = tokens
        self._lock = threading.Lock()

    def success(self) -> None:
        """A call succeeded."""
        if self._tokens < self._most:
            with self._lock:
                self._tokens = min(self._most, self._tokens + 0.1)

    def failure(self) -> bool:
        """A call failed in a way that could be retried; False if the budget says no."""
        with self._lock:
            self._tokens = max(0.0, self._tokens - 1.0)
            return self._tokens > self._most / 2


def next_delay(
    policy: RetryPolicy, budget: RetryBudget, error: ClientError, failures: int, remaining: float
) -> float | None:
    """Seconds until the next attempt, or None to give up.

    `failures` counts this one; `remaining` is what is left of the call's deadline in seconds.
    """
    if not error.retriable or not budget.failure() or failures >= policy.attempts:
        return None
    delay = policy.delay(failures, error, random.random())
    return delay if delay < remaining else None
