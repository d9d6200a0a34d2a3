"""Packages that greet their users: without the greeting, and never among the results."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from types import ModuleType
from typing import TextIO

_results: ContextVar[TextIO | None] = ContextVar("results", default=None)


def result_stream() -> TextIO:
    """Return the stream that takes results: the standard output, which nobody else writes to."""
    return _results.get() or sys.stdout


@contextmanager
def results_alone() -> Iterator[None]:
    """Keep the standard output for `result_stream` inside the block.

    What anything else prints goes to the standard error: packages in Python, libraries in C and
    C++, which write to the file descriptor, and processes that are started meanwhile.
    """
    own = _own_output()
    stream = sys.stdout if own is None else os.fdopen(os.dup(own), "w", encoding="utf-8")
    saved = _pointed_at_errors()
    token = _results.set(stream)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _results.reset(token)
        with contextlib.suppress(BrokenPipeError):  # whoever read the results has left
            stream.flush()
        if saved is not None:
            ctypes.CDLL(None).fflush(None)  # what C still holds back belongs to the errors, too
            os.dup2(saved, 1)
            os.close(saved)
        if own is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def _own_output() -> int | None:
    """Return the descriptor of Python's standard output; None where it is no file."""
    try:
        sys.stdout.flush()
        return sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        return None


def _pointed_at_errors() -> int | None:
    """Let descriptor 1 be the standard error; return what it was, None where there is none."""
    try:
        saved = os.dup(1)
        os.dup2(2, 1)
    except OSError:
        return None
    return saved


@contextmanager
def dropped_messages(texts: Mapping[str, str]) -> Iterator[None]:
    """Drop log messages that contain a text; everything else is logged as the user set it up.

    Parameters
    ----------
    texts
        For the name of each logger, what its unwanted messages contain. "" is the root logger; an
        empty text drops all messages.
    """
    filters = [(logging.getLogger(name), _Without(text)) for name, text in texts.items()]
    # logging.warning() configures the root logger if that has no handler.
    handler = logging.NullHandler()
    logging.root.addHandler(handler)
    for logger, unwanted in filters:
        logger.addFilter(unwanted)
    try:
        yield
    finally:
        for logger, unwanted in filters:
            logger.removeFilter(unwanted)
        logging.root.removeHandler(handler)


def pymbar() -> ModuleType:
    """Return the package pymbar, imported without its two banners."""
    with dropped_messages({"pymbar.timeseries": "", "pymbar.mbar_solvers": ""}):
        return import_module("pymbar")


class _Without(logging.Filter):
    """Filter that drops the messages with a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the message is to be logged."""
        return self._text not in record.getMessage()
