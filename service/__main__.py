"""`python -m service` is the `mintage` command; processes that we start use it, since it needs no PATH.

Installed, the command runs a copy of this file under another name, which imports nothing of ours before `main`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

INTERRUPTED = 130


def main() -> None:
    """Run the `mintage` command on our code.

    What PYTHONPATH names comes last here, and no process of ours knows it or looks into the current folder.
    """
    named = os.environ.pop("PYTHONPATH", "").split(os.pathsep)
    last = [str(Path(folder).absolute()) for folder in named if folder]
    sys.path.sort(key=last.__contains__)
    os.environ["PYTHONSAFEPATH"] = "1"

    try:
        from service import cli  # noqa: PLC0415 - not before our code comes first

        cli.main()
    except KeyboardInterrupt:  # before the verb could see to it
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
