"""Cross-origin requests: which of them a web page of another origin made a browser send.

A browser sends the forms and the simple requests of any page to any service, without asking first. It names the page's
origin in `Origin`, and in `Sec-Fetch-Site` how that origin relates to the service; a page can change neither. Programs
send neither.

Source: Fetch standard, "`Origin` header"; W3C Fetch Metadata Request Headers.
"""

from collections.abc import Collection, Mapping

from pneumoscope.serving.problems import Problem, ProblemError

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def check_origin(method: str, scheme: str, headers: Mapping[bytes, str], allowed: Collection[str]) -> None:
    """Refuse a request that changes something and that a page of another origin sent.

    Args:
        method: HTTP method.
        scheme: `http` or `https`, as the service sees it.
        headers: Header values by lower-case name.
        allowed: Origins that may ask; `*` for every one.

    Raises:
        ProblemError: `Origin` names a page of another origin, or `Sec-Fetch-Site` says that there is one.
    """
    origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site", "").lower()
    if method in _SAFE_METHODS or "*" in allowed or origin in allowed:
        return
    own = origin is not None and _is_own(origin, scheme, headers.get(b"host", ""))
    if (origin is not None and not own) or site == "cross-site" or (site == "same-site" and not own):
        found = f"a page of {origin[:100]!r}" if origin and not own else f"one of another origin ({site})"
        raise ProblemError(Problem.CROSS_ORIGIN, f"expected a page of this service or a program, found {found}")


def _is_own(origin: str, scheme: str, host: str) -> bool:
    # Where a reverse proxy ends TLS, the browser says https and the service sees http.
    return bool(host) and _plain(origin) in (_plain(f"{scheme}://{host}"), _plain(f"https://{host}"))


def _plain(origin: str) -> str:
    """Write an origin in lower case, and without the port where it is the scheme's own."""
    scheme, _, host = origin.lower().partition("://")
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ''))}"
