"""Signatures of bundles: Ed25519 over the whole file, by a key whose public part is pinned.

RFC 8032. OpenSSL makes key and signature:

    openssl genpkey -algorithm ed25519 -out private.pem
    openssl pkey -in private.pem -pubout -out public.pem
    openssl pkeyutl -sign -rawin -inkey private.pem -in mine.ccnvr -out mine.ccnvr.sig
"""

from __future__ import annotations

from pathlib import Path

from ccnvr.edge.bundle.archive import BundleError
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.installation import extra_command

SIGNATURE_BYTES = 64
MOST_KEY_BYTES = 4096
SUFFIX = ".sig"


def check_signature(content: bytes, signature: Path, public_key: Path) -> None:
    """Check that a bundle's content was signed by the holder of a key.

    Args:
        content: the bundle.
        signature: a file with the signature's 64 bytes.
        public_key: the key as PEM.

    Raises:
        UsageError: a file cannot be read or is of another kind, or `cryptography` is not installed.
        BundleError: the signature is another content's, or another key's.
    """
    # Here, because most daemons pin no key and do not have the package.
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise UsageError(
            "a public key is pinned, and signatures need the package cryptography; run: "
            + extra_command("signing")
        ) from error
    try:
        key = load_pem_public_key(_bytes_of(public_key, MOST_KEY_BYTES))
    except ValueError as error:
        raise UsageError(
            f"public key {public_key} is not PEM ({error}); give an Ed25519 key"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"public key {public_key} is not an Ed25519 key; give one that is")
    # A longer file is refused, not cut: it is another kind of signature.
    given = _bytes_of(signature, SIGNATURE_BYTES)
    try:
        key.verify(given, content)
    except InvalidSignature as error:
        raise BundleError(
            f"signature {signature} is not that of the pinned key for this bundle; ask its sender "
            "for the right one"
        ) from error


def _bytes_of(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}); give an existing file"
        ) from error
    if len(content) > most:
        raise UsageError(f"{path} is longer than {most} bytes and is not what it is given for")
    return content
