"""Private keys in the form Java wants them."""

from __future__ import annotations

from pathlib import Path

from sync.errors import LocalServerError


def pkcs8(key: Path) -> bytes:
    """The PEM key in `key` as PKCS #8; other forms are converted."""
    pem = key.read_bytes()
    if b"BEGIN PRIVATE KEY" in pem:
        return pem
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise LocalServerError(f"the key {key} is not PKCS #8; convert it, or: pip install cryptography") from error
    loaded = serialization.load_pem_private_key(pem, password=None)
    return loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
