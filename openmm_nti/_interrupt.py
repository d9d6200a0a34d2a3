"""Ctrl-C while the command line is still being imported, which takes a second or two.

To import this module is enough.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

_PROGRAMS = ("openmm-nti", "openmm-nti.exe", "-m")  # the last while `python -m` looks for a module
_INTERRUPTED = 130


def end_quietly_at_ctrl_c() -> None:
    """Let Ctrl-C end the command line with one line, before a command takes over.

    It does nothing in other programs, in workers, and where somebody else handles the signal.
    """
    if (
        Path((sys.argv or [""])[0]).name in _PROGRAMS
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        signal.signal(signal.SIGINT, _end)


def _end(_number: int, _frame: FrameType | None) -> None:
    # An exception could come out of an import as another error, with a traceback.
    os.write(2, b"Interrupted; nothing was kept.\n")
    os._exit(_INTERRUPTED)


end_quietly_at_ctrl_c()
