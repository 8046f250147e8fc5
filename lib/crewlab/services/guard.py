"""Who may talk to the services: programs on this machine, and no web page."""

from __future__ import annotations


def allowed_hosts(port: int) -> frozenset[str]:
    """Give the values of the Host header that a service on this port answers to.

    A page that has made its own name resolve to 127.0.0.1 still sends that name.
    """
    return frozenset((f"127.0.0.1:{port}", f"localhost:{port}"))


def is_foreign(host: str | None, origin: str | None, hosts: frozenset[str]) -> bool:
    """Tell whether a request comes from a web page of somebody else's.

    Args:
        host: its Host header.
        origin: its Origin header, which browsers send and the SDKs do not.
        hosts: see `allowed_hosts`.
    """
    if host not in hosts:
        return True
    return origin is not None and origin.removeprefix("http://") not in hosts
