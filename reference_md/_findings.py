"""What a check of frames has found, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

INSIST = "; to insist: --accept-frames, in Python accept_frames=True"


@dataclass
class Findings:
    """What a check has found so far.

    Attributes
    ----------
    numbers
        JSON-ready results by name.
    warnings
        What is worth knowing.
    refusals
        Reasons not to use the frames, one line each.
    """

    numbers: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def settle(self, source: str, *, accept: bool) -> None:
        """Raise the first refusal, or make warnings of all of them if the user insists.

        Raises
        ------
        ValueError
            If there is a refusal, and not `accept`.
        """
        if not self.refusals:
            return
        if not accept:
            more = len(self.refusals) - 1
            others = f" (and {more} more reasons)" if more > 1 else " (and 1 more reason)" * more
            raise ValueError(f"{source}: {self.refusals[0]}{others}{INSIST}")
        self.numbers["kept_in_spite_of"] = list(self.refusals)
        self.warnings += [f"kept in spite of this: {reason}" for reason in self.refusals]
        self.refusals = []
