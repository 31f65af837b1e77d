"""Source passwords in the platform's format."""

import base64

import pytest

from service.config.credentials import UndecryptablePasswordError, decrypt, encrypt, parse_key
from tests.fixtures.metadata import ENCRYPTED_SECRET, KEY, SECRET


def test_platforms_own_example() -> None:
    """The test vector, with the key in both of its forms."""
    for text in (KEY, base64.b64encode(KEY.encode()).decode()):
        assert decrypt(parse_key(text), ENCRYPTED_SECRET) == SECRET


def test_what_is_encrypted_can_be_decrypted() -> None:
    """And two results are never equal."""
    key = parse_key(KEY)
    once, again = encrypt(key, "pässword"), encrypt(key, "pässword")
    assert once != again
    assert decrypt(key, once) == decrypt(key, again) == "pässword"
    assert decrypt(key, None) is None
    assert decrypt(key, "") is None


@pytest.mark.parametrize(
    "stored", ["plain text", "AAEC", "!", ENCRYPTED_SECRET[:-4] + "AAA=", ENCRYPTED_SECRET[:40], "\x00", "ü" * 40]
)
def test_what_cannot_be_decrypted_says_what_to_do(stored: str) -> None:
    """The message does not contain the stored value, and the error has no cause that does."""
    with pytest.raises(UndecryptablePasswordError, match="CREDENTIAL_ENCRYPTION_KEY") as caught:
        decrypt(parse_key(KEY), stored)
    assert stored not in str(caught.value)
    assert caught.value.__cause__ is None


def test_another_key_is_refused() -> None:
    """The tag of AES-GCM does not match."""
    with pytest.raises(UndecryptablePasswordError):
        decrypt(b"x" * 32, ENCRYPTED_SECRET)


@pytest.mark.parametrize("text", ["", "short", "x" * 31, "x" * 33, base64.b64encode(b"x" * 16).decode()])
def test_key_has_32_bytes(text: str) -> None:
    """As base64, or as characters."""
    with pytest.raises(ValueError, match="32"):
        parse_key(text)
