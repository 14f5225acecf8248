"""What TLS to Redis fails by, in the operator's words: the files that an address names, the handshake."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from runtime.common.text import one_line
from runtime.model import BoundaryDown

CODE = "redis-tls"
_NAME_MISMATCHES = frozenset({62, 64})
"""OpenSSL's verify codes for a host name and an IP address that the certificate does not have."""
_EXPIRED = 10


def check_files(options: Mapping[str, object]) -> None:
    """The files of ``ssl_ca_certs``, ``ssl_certfile`` and ``ssl_keyfile`` can be read and are what they
    should be. Raises `ValueError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority, own, key = (options.get(name) for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"))
    if isinstance(authority, str):
        try:
            context.load_verify_locations(cafile=authority)
        except OSError as error:
            raise ValueError(f"ssl_ca_certs={one_line(authority, 200)}: {_why(error)}") from None
    if isinstance(own, str):
        try:
            context.load_cert_chain(own, key if isinstance(key, str) else None, _no_password(options))
        except OSError as error:
            raise ValueError(f"ssl_certfile={one_line(own, 200)}: {_why(error)}") from None


def _no_password(options: Mapping[str, object]) -> str:
    """Of the key: without one OpenSSL would ask on the terminal."""
    given = options.get("ssl_password")
    return given if isinstance(given, str) else ""


def refused(where: str, error: BaseException) -> BoundaryDown | None:
    """``error``, or what it came of, as a failure of TLS; None if it is none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            message, fix = _told(cause)
            return BoundaryDown(f"Redis at {where}: {message}", fix=fix, code=CODE)
        cause = cause.__cause__ or cause.__context__
    return None


def _told(error: ssl.SSLError) -> tuple[str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        said = one_line(error.verify_message, 120)
        if error.verify_code in _NAME_MISMATCHES:
            return (
                f"its certificate is another's: {said}",
                "use a name that the certificate has (a cluster's nodes tell their own: cluster-announce-hostname)",
            )
        if error.verify_code == _EXPIRED:
            return f"its certificate is no longer valid: {said}", "renew the server's certificate"
        return (
            f"its certificate was not signed by a CA that is trusted here: {said}",
            "name the CA's file in redis_url: rediss://host:port/0?ssl_ca_certs=/path/to/ca.pem",
        )
    if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return "it does not speak TLS", "use redis:// or redis+cluster://, or give the port of its TLS"
    return f"TLS failed: {_why(error)}", "see Addresses in docs/redis.md, and the server's log"


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return one_line((error.reason or str(error)).replace("_", " ").lower(), 120)
    return one_line(error.strerror or str(error), 120)
