"""Cells: one size of message, a number of sessions, and whether sessions are kept. Written 10k:20:kept."""
from dataclasses import dataclass

_UNITS = {"k": 1 << 10, "m": 1 << 20}

SIZES = ("1k", "10k", "100k", "1m", "25m")
SESSIONS = (1, 20, 100, 1000)


@dataclass(frozen=True)
class Cell:
    size: str
    sessions: int
    kept: bool

    @property
    def bytes(self):
        unit = _UNITS.get(self.size[-1], 1)
        return int(self.size.rstrip("km")) * unit

    def __str__(self):
        return f"{self.size}:{self.sessions}:{'kept' if self.kept else 'new'}"


def parse_cell(text):
    """A Cell from 10k:20:kept or 1m:1:new. ValueError says what is wrong."""
    parts = text.strip().lower().split(":")
    if len(parts) != 3 or parts[2] not in ("kept", "new") or not parts[1].isdigit() or int(parts[1]) < 1 \
            or not parts[0].rstrip("km").isdigit() or len(parts[0]) - len(parts[0].rstrip("km")) > 1:
        raise ValueError(f"{text!r} is no cell: SIZE:SESSIONS:kept|new, such as 10k:20:kept")
    return Cell(parts[0], int(parts[1]), parts[2] == "kept")


QUICK = tuple(map(parse_cell, ("1k:1:kept", "10k:20:kept", "10k:20:new", "25m:1:kept")))


def full_matrix():
    return tuple(Cell(size, sessions, kept) for size in SIZES for sessions in SESSIONS for kept in (True, False))
