"""Become another program that ends when its parent ends: python -I -S tied.py PARENT_PID PROGRAM [ARGUMENT ...].

Run as a file of its own, before the program, because Python's hook between fork and exec (`preexec_fn`) runs code of
ours in a forked copy of a threaded process: a Ctrl-C in that moment is swallowed and may leave a lock taken for ever.
On Linux the kernel sends SIGTERM when the parent's thread dies; elsewhere this only becomes the program.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent and become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the kernel knew
            raise SystemExit(1)
    os.execvp(program[0], program)  # noqa: S606 - no shell


if __name__ == "__main__":
    main()
