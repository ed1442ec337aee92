"""Errors that outlive their handling, without what their tracebacks hold on to."""

from __future__ import annotations


def drop_frames(error: BaseException | None) -> None:
    """Take the traceback from an error and its causes: frames name requests, tensors, models and their sessions.

    An error that is a request's result stands in a circle with it, and would keep its model loaded until somebody
    collects garbage; one that is remembered, for as long as that.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
