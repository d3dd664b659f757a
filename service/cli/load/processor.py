"""CPU seconds of the processes of this machine, by role, from Linux's /proc."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

Reading = Mapping[str, float]  # CPU seconds so far, by role
Meter = Callable[[], Reading]

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_ROLES = (  # by command line; the first that fits counts
    ("API", re.compile(r"\bserve api\b")),
    ("model worker", re.compile(r"model_service_worker\.py")),
    ("TorchServe", re.compile(r"org\.pytorch\.serve\.ModelServer|\bserve torchserve\b")),
    ("bulk workers", re.compile(r"\bserve worker\b|\bcelery\b")),
)


def of_mintage() -> Reading:
    """Read the CPU seconds of all processes of Mintage that this user may see."""
    found = {role: 0.0 for role, _ in _ROLES}
    for pid in _pids():
        command = _command(pid)
        role = next((role for role, pattern in _ROLES if pattern.search(command)), None)
        if role:
            found[role] += _seconds(pid)
    return {role: seconds for role, seconds in found.items() if seconds}


def of_process(pid: int) -> float:
    """Read the CPU seconds of one process, 0 if it has ended."""
    return _seconds(pid)


def of_tree(root: int) -> float:
    """Read the CPU seconds of a process and all its descendants."""
    return sum(_seconds(pid) for pid in tree(root))


def tree(root: int) -> set[int]:
    """Return the ids of a process and all its descendants."""
    parents = {pid: _parent(pid) for pid in _pids()}
    found, grown = {root}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found, grown = found | more, bool(more)
    return found


def cores_between(before: Reading, after: Reading, seconds: float) -> dict[str, float]:
    """Return the cores in use between two readings; a process that came meanwhile counts from its start."""
    return {role: max(0.0, value - before.get(role, 0.0)) / seconds for role, value in after.items()}


def _pids() -> list[int]:
    """Return the ids of all processes, none where there is no /proc, as on macOS."""
    if not _PROC.is_dir():
        return []
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _command(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # it has ended, or is not ours to see
        return ""


def _fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on; the second, a name, may hold anything."""
    try:
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _parent(pid: int) -> int:
    fields = _fields(pid)
    return int(fields[1]) if fields else 0


def _seconds(pid: int) -> float:
    fields = _fields(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0  # utime and stime
