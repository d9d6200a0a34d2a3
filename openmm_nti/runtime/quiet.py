"""Imports of packages that greet their users, without the greeting and without side effects."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


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


class _Without(logging.Filter):
    """Filter that drops the messages with a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the message is to be logged."""
        return self._text not in record.getMessage()
