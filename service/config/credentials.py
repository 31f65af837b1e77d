"""Source passwords in the platform's format: base64(12-byte nonce || AES-256-GCM ciphertext || 16-byte tag)."""

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_TAG_BYTES = 16
_KEY_BYTES = 32


class UndecryptablePasswordError(Exception):
    """A stored password is not in the platform's format, or was encrypted with another key."""

    def __init__(self) -> None:
        super().__init__(
            "the source's password cannot be decrypted with CREDENTIAL_ENCRYPTION_KEY; save it again on the platform"
        )


def parse_key(text: str) -> bytes:
    """The 32 bytes of a key that is given as base64 or as 32 characters. ValueError for anything else."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        key = text.encode()
    if len(key) != _KEY_BYTES:
        raise ValueError("has to be base64 of 32 bytes, or 32 characters")
    return key


def encrypt(key: bytes, password: str) -> str:
    """Encrypts `password` for `sources.pg_password`."""
    nonce = os.urandom(_NONCE_BYTES)
    return base64.b64encode(nonce + AESGCM(key).encrypt(nonce, password.encode(), None)).decode()


def decrypt(key: bytes, stored: str | None) -> str | None:
    """Decrypts a `sources.pg_password`; None if none is stored. Raises UndecryptablePasswordError."""
    if not stored:
        return None
    try:
        sealed = base64.b64decode(stored, validate=True)
        if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
            raise UndecryptablePasswordError
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None).decode()
    except (binascii.Error, ValueError, InvalidTag):
        # `from None`: a traceback must not contain the input.
        raise UndecryptablePasswordError from None
