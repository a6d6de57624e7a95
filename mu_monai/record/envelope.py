"""A signed record: a DSSE envelope around a Statement."""

from __future__ import annotations

import binascii
import getpass
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

from mu_monai.errors import InputError
from mu_monai.files import absence, shape_problems

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PASSPHRASE = "MU_MONAI_KEY_PASSPHRASE"
_SHAPE = {"payload": str, "payloadType": str, "signatures": [{"keyid": str, "sig": str}]}
_KINDS = "Ed25519, ECDSA P-256 or RSA"
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)


def sign(statement: Mapping[str, Any], signer: CryptoSigner) -> dict[str, Any]:
    """Sign a Statement: a DSSE envelope with its payload and signature, ready to be written as JSON.

    Args:
        statement: what to sign.
        signer: the private key, as `private_key` reads it.

    Source: DSSE 1.0, https://github.com/secure-systems-lab/dsse.

    Example:
        >>> signer = CryptoSigner.generate_ed25519()
        >>> envelope = sign({"a": 1}, signer)
        >>> envelope["payloadType"], len(envelope["signatures"])
        ('application/vnd.in-toto+json', 1)
        >>> signature_problem(open_envelope(envelope), signer.public_key)
        ''
    """
    payload = json.dumps(statement, ensure_ascii=False, allow_nan=False).encode()
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    content: dict[str, Any] = envelope.to_dict()
    return content


def open_envelope(content: Any) -> Envelope:
    """Read an envelope from JSON content, without checking its signature.

    Raises:
        InputError: if it is not a DSSE envelope with a JSON payload.
    """
    problems = shape_problems(content, _SHAPE)
    if problems:
        raise InputError(f"it is not a DSSE envelope ({'; '.join(problems)})")
    try:
        envelope = Envelope.from_dict(content)
        json.loads(envelope.payload)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, FormatError) as error:
        raise InputError(f"it is not a DSSE envelope ({type(error).__name__}: {error})") from error
    return envelope


def signature_problem(envelope: Envelope, key: SSlibKey) -> str:
    """Why an envelope was not signed with a key; empty if it was."""
    if envelope.payload_type != PAYLOAD_TYPE:
        return f"the payload type is {envelope.payload_type!r}, not {PAYLOAD_TYPE!r}"
    if key.keyid not in envelope.signatures:
        key_ids = ", ".join(name[:12] for name in envelope.signatures) or "none"
        return f"signed with another key (key ids {key_ids}), not with the given one ({key.keyid[:12]})"
    try:
        envelope.verify([key], 1)
    except VerificationError:
        return "the record or its signature was changed after signing"
    return ""


def private_key(path: str | os.PathLike[str]) -> CryptoSigner:
    """Read a private key to sign with.

    If the key is encrypted, its passphrase is read from the environment variable `MU_MONAI_KEY_PASSPHRASE`, or asked
    for.

    Args:
        path: a PEM file with an Ed25519, ECDSA P-256 or RSA key.

    Raises:
        InputError: if it is missing, is not such a key, or the passphrase is wrong or cannot be asked for.
    """
    data = _read(path, "private key")
    secret = (os.environ.get(PASSPHRASE) or _asked(path)).encode() if b"ENCRYPTED" in data else None
    try:
        return CryptoSigner(load_pem_private_key(data, secret))
    except _UNREADABLE as error:
        raise InputError(
            f"private key '{path}' cannot be used ({error}); give a PEM file ({_KINDS}), and set {PASSPHRASE} to its "
            "passphrase if it is encrypted; to make a key: openssl genpkey -algorithm ed25519 -out key.pem"
        ) from error


def public_key(path: str | os.PathLike[str]) -> SSlibKey:
    """Read the public key that a record must be signed with.

    Raises:
        InputError: if it is missing, or is not a public key of a known kind.
    """
    data = _read(path, "public key")
    try:
        return SSlibKey.from_crypto(load_pem_public_key(data))
    except _UNREADABLE as error:
        raise InputError(
            f"public key '{path}' cannot be used ({error}); give a PEM file ({_KINDS}); to get it from a private key: "
            "openssl pkey -in key.pem -pubout -out key.pub"
        ) from error


def _asked(path: str | os.PathLike[str]) -> str:
    try:
        return getpass.getpass(f"passphrase of {path}: ")
    except EOFError as error:
        raise InputError(
            f"private key '{path}' is encrypted, and there is no terminal to ask for its passphrase; set "
            f"{PASSPHRASE} to the passphrase"
        ) from error


def _read(path: str | os.PathLike[str], what: str) -> bytes:
    if not Path(path).is_file():
        raise InputError(f"{what} '{path}' {absence(path)}; give a PEM file")
    return Path(path).read_bytes()
