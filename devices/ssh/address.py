"""Where a device is: ``ssh://user@host:port``."""

from __future__ import annotations

import re
from dataclasses import dataclass

SCHEME = "ssh://"
_USER = r"(?:(?P<user>[\w.][\w.\-]*)@)?"
_HOST = (
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.\-]+)?)\]|(?P<host>[\w.][\w.\-]*))"  # no leading dash: ssh would read an option
)
_ADDRESS = re.compile(rf"{_USER}{_HOST}(?::(?P<port>\d+))?", re.ASCII)


@dataclass(frozen=True)
class Address:
    """A machine as the user's ``ssh`` knows it: a name or an alias of its configuration. What is None is up to that."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return SCHEME + (f"{self.user}@" if self.user else "") + host + (f":{self.port}" if self.port else "")

    @property
    def arguments(self) -> list[str]:
        """For the ``ssh`` command line."""
        port = ["-p", str(self.port)] if self.port else []
        return [*port, f"{self.user}@{self.host}" if self.user else self.host]


def split(spec: str) -> tuple[Address | None, str]:
    """The address, if the device is elsewhere, and the specification without it, which may be empty.

    Raises:
        ValueError: the address is not written like that.
    """
    if not spec.startswith(SCHEME):
        return None, spec
    written, _, device = spec.removeprefix(SCHEME).partition("/")
    found = _ADDRESS.fullmatch(written)
    port = int(found["port"]) if found and found["port"] else None
    if found is None or not (port is None or 0 < port < 1 << 16):
        raise ValueError(
            f"device {spec!r}: a machine elsewhere is written ssh://USER@HOST:PORT/RUNTIME, got {written!r} "
            "(user and port can be left to ~/.ssh/config; passwords are for no command line)"
        )
    return Address(found["v6"] or found["host"], found["user"], port), device
