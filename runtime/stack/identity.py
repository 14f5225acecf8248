"""Restate's request identity: an Ed25519 key pair, made without OpenSSL.

The server signs its calls to the worker with the private key; the worker refuses calls that
the public key does not verify. Formats: PKCS #8 (RFC 8410) in PEM for the server,
``publickeyv1_`` and base58 for the SDK.
"""

from __future__ import annotations

import base64
import hashlib
import secrets

_PKCS8_ED25519 = bytes.fromhex("302e020100300506032b657004220420")
"""DER of RFC 8410's private key info up to the 32 bytes of the seed."""
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

# Edwards25519 (RFC 8032, section 5.1): -x^2 + y^2 = 1 + d x^2 y^2 over the integers modulo _P.
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_BASE_Y = 4 * pow(5, -1, _P) % _P
_BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_Point = tuple[int, int]


def new_seed() -> bytes:
    """The 32 random bytes that a private key consists of."""
    return secrets.token_bytes(32)


def private_pem(seed: bytes) -> str:
    """The private key as the server's settings want it."""
    body = base64.b64encode(_PKCS8_ED25519 + seed).decode()
    return f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"


def public_key(seed: bytes) -> bytes:
    """The 32 bytes of the public key (RFC 8032, section 5.1.5).

    Not constant-time: meant for a key made and used on one machine.
    """
    digest = bytearray(hashlib.sha512(seed).digest()[:32])
    digest[0] &= 0b1111_1000
    digest[31] &= 0b0111_1111
    digest[31] |= 0b0100_0000
    scalar = int.from_bytes(digest, "little")
    point: _Point = (0, 1)
    addend: _Point = (_BASE_X, _BASE_Y)
    while scalar:
        if scalar & 1:
            point = _add(point, addend)
        addend = _add(addend, addend)
        scalar >>= 1
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def public_text(seed: bytes) -> str:
    """``publickeyv1_...``, as ``restate.app(identity_keys=[...])`` wants it."""
    number = int.from_bytes(raw := public_key(seed), "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    zeros = len(raw) - len(raw.lstrip(b"\0"))
    return "publickeyv1_" + "1" * zeros + text


def _add(a: _Point, b: _Point) -> _Point:
    product = _D * a[0] * b[0] * a[1] * b[1]
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + product, -1, _P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, _P)
    return x % _P, y % _P
