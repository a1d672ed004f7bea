"""Host names and addresses."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether what listens on an address, or a name, can be reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
