"""The environment of the peers: a virtual environment of their own, in a cache folder, with the project's torch.

All servers compute with the same torch; only what the peers bring differs, and cannot disturb the project.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements.txt"


def peers_python() -> Path:
    """Return the Python of the environment, which the first call makes (a minute; needs a package index)."""
    site_packages = sysconfig.get_path("purelib")
    key = hashlib.sha256(f"{REQUIREMENTS.read_text()}{sys.version}{site_packages}".encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "mintage" / f"peers-{key}"
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        print(f"installing the peers in {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", "-r", REQUIREMENTS], check=True)
        # Last on the path: what the peers need wins, torch is the project's.
        site = folder / Path(site_packages).relative_to(sys.prefix)
        (site / "project.pth").write_text(f"{site_packages}\n", encoding="utf-8")
        complete.touch()
    return python
