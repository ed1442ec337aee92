"""What the server logs, changeable while it runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from headstock.errors import InvalidInput

LOGGERS = ("headstock", "headstock_server")
"""The roots of our loggers; what libraries log is not ours to switch."""

Value = bool | int | str

_FILE, _FORMAT = "log_file", "log_format"
_SWITCHES = {"log_info": logging.INFO, "log_warning": logging.WARNING, "log_error": logging.ERROR}
_VERBOSE = "log_verbose_level"
_SILENT = logging.CRITICAL + 1


class LogControl(logging.Filter):
    """The switches `log_info`, `log_warning`, `log_error`, and `log_verbose_level`: above 0, every request is a line.

    A filter on the handlers that exist when it is installed: levels alone cannot hide warnings and show information.
    """

    def __init__(self) -> None:
        """Start with what the loggers do already; nothing changes before `update`."""
        super().__init__()
        enabled = logging.getLogger(LOGGERS[0]).isEnabledFor
        self._on = {name: enabled(level) for name, level in _SWITCHES.items()}
        self._verbose = int(enabled(logging.DEBUG))
        self._before = {name: logging.getLogger(name).level for name in LOGGERS}
        self._handlers = list(logging.getLogger().handlers)
        for handler in self._handlers:
            handler.addFilter(self)

    def close(self) -> None:
        """Put every logger and handler back as it was."""
        for handler in self._handlers:
            handler.removeFilter(self)
        for name, level in self._before.items():
            logging.getLogger(name).setLevel(level)

    def filter(self, record: logging.LogRecord) -> bool:
        """True if the record is to be written."""
        if record.name.partition(".")[0] not in LOGGERS:
            return True
        for name in ("log_error", "log_warning", "log_info"):
            if record.levelno >= _SWITCHES[name]:
                return self._on[name]
        return self._verbose > 0

    def settings(self) -> dict[str, Value]:
        """Every setting by name. The file is the operator's and its name is not told."""
        return {_FILE: "", **self._on, _VERBOSE: self._verbose, _FORMAT: "default"}

    def update(self, changes: Mapping[str, Value | None]) -> None:
        """Change what is named, all of it or nothing; None leaves a setting as it is. Raises `InvalidInput`."""
        wanted = {name: value for name, value in changes.items() if value is not None}
        for name in changes:
            _check(name, wanted.get(name))
        self._verbose = int(wanted.get(_VERBOSE, self._verbose))
        self._on.update({name: bool(value) for name, value in wanted.items() if name in _SWITCHES})
        if wanted:
            for name in LOGGERS:
                logging.getLogger(name).setLevel(self._level())

    def _level(self) -> int:
        if self._verbose:
            return logging.DEBUG
        return min((level for name, level in _SWITCHES.items() if self._on[name]), default=_SILENT)


def _check(name: str, value: Value | None) -> None:
    expected = None
    if name in (_FILE, _FORMAT):
        if value not in (None, "", "default" if name == _FORMAT else ""):
            raise InvalidInput(f"log setting {name!r} is the operator's and is decided when the server starts")
    elif name in _SWITCHES:
        expected = "true or false" if not isinstance(value, bool | None) else None
    elif name == _VERBOSE:
        wrong = value is not None and (isinstance(value, bool) or not isinstance(value, int))
        expected = "an integer of 0 or more" if wrong else None
    else:
        raise InvalidInput(f"log setting {name[:80]!r} is not known; expected one of {[*_SWITCHES, _VERBOSE]}")
    if expected:
        raise InvalidInput(f"log setting {name!r} is {value!r}; expected {expected}")
