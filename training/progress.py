"""The callbacks by which long work reports its progress."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[int], None]  # called with the number of items just done
BeginTask = Callable[[str, int], Report]  # called with a task's name and its number of items, as the task starts
