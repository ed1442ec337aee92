"""The domain errors: what went wrong, which one, what was expected, what to type instead."""

from __future__ import annotations


class HeadstockError(Exception):
    """A failure that a user can understand and act on.

    `fix` is the command or change that helps; it is printed on its own line. The transport maps each subclass to
    one gRPC code, the command line prints `error: MESSAGE` and `try: FIX` and exits with `exit_code`.
    """

    exit_code = 1

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return self.message if self.fix is None else f"{self.message} (try: {self.fix})"


class InvalidInput(HeadstockError):
    """What the caller passed is wrong: a name, a shape, a dtype, a column, a file."""

    exit_code = 2


class NotFound(HeadstockError):
    """The thing asked for does not exist."""


class AlreadyExists(HeadstockError):
    """The thing to be made exists and is not the same."""


class Conflict(HeadstockError):
    """Two owners claim one name, or a change raced with another; both are named."""


class FailedPrecondition(HeadstockError):
    """The request is well formed but the state does not allow it."""


class PermissionDenied(HeadstockError):
    """The caller may not do this here, whatever the state."""


class Corrupt(HeadstockError):
    """Bytes on disk are not what their digest says."""


class DigestMismatch(FailedPrecondition):
    """A head or adapter was made for another backbone than the one it was about to run on."""


class LicenceRefused(HeadstockError):
    """The licences of a lineage do not allow this use, and the policy refuses what they do not allow.

    `proof_id` is the digest of the verdict's proof.
    """

    def __init__(self, message: str, *, proof_id: str = "", fix: str | None = None) -> None:
        super().__init__(message, fix=fix)
        self.proof_id = proof_id


class Exhausted(HeadstockError):
    """A queue, a budget or a limit is full; retrying later can succeed.

    `retry_after` is in seconds.
    """

    def __init__(self, message: str, *, fix: str | None = None, retry_after: float = 0.1) -> None:
        super().__init__(message, fix=fix)
        self.retry_after = retry_after


class Unavailable(HeadstockError):
    """The server is starting, draining or has lost what it needs."""


class DeadlineExceeded(HeadstockError):
    """The caller's deadline passed before the answer was ready."""


class RunTimeout(DeadlineExceeded):
    """A run of a graph took longer than any may, whatever the caller's deadline, and was ended."""


class Unsupported(HeadstockError):
    """A feature that this build does not have."""


class PluginError(HeadstockError):
    """A plugin broke its contract; the message names the plugin and its distribution."""
