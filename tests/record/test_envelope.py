"""Envelopes: signed by the key that is asked for, and by no other."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mu_monai.errors import InputError
from mu_monai.record import open_envelope, private_key, public_key, sign, signature_problem

CHANGED = "the record or its signature was changed after signing"
KEYS = {
    "ed25519": Ed25519PrivateKey.generate,
    "ecdsa": lambda: generate_private_key(SECP256R1()),
    "rsa": lambda: generate_rsa(65537, 2048),
}


def write_keys(folder, key, passphrase=None):
    hidden = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pub").write_bytes(public)
    return folder / "key.pem", folder / "key.pub"


@pytest.mark.parametrize("kind", KEYS)
def test_every_kind_of_key_signs_and_confirms(kind, tmp_path):
    private, public = write_keys(tmp_path, KEYS[kind]())
    envelope = open_envelope(json.loads(json.dumps(sign({"a": "ä"}, private_key(private)))))
    assert json.loads(envelope.payload) == {"a": "ä"}
    assert signature_problem(envelope, public_key(public)) == ""


@pytest.fixture
def signed(tmp_path):
    private, public = write_keys(tmp_path, Ed25519PrivateKey.generate())
    return sign({"dice": 0.9}, private_key(private)), public_key(public)


def test_another_key_is_told_by_its_id(signed, tmp_path):
    _, other = write_keys(tmp_path, Ed25519PrivateKey.generate())
    assert "signed with another key" in signature_problem(open_envelope(signed[0]), public_key(other))


def test_another_key_under_the_same_id_is_no_way_round(signed, tmp_path):
    private, _ = write_keys(tmp_path, Ed25519PrivateKey.generate())
    forged = sign({"dice": 1.0}, private_key(private))
    forged["signatures"][0]["keyid"] = signed[1].keyid
    assert signature_problem(open_envelope(forged), signed[1]) == CHANGED


def test_a_changed_payload_or_signature_is_told(signed):
    envelope, key = signed
    payload = base64.b64encode(json.dumps({"dice": 0.8}).encode()).decode()
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    signature[0] ^= 1
    other = [{**envelope["signatures"][0], "sig": base64.b64encode(signature).decode()}]
    for changed in ({**envelope, "payload": payload}, {**envelope, "signatures": other}):
        problem = signature_problem(open_envelope(json.loads(json.dumps(changed))), key)
        assert problem == CHANGED


def test_no_signature_and_another_payload_type_are_told(signed):
    envelope, key = signed
    assert "(key ids none)" in signature_problem(open_envelope({**envelope, "signatures": []}), key)
    assert "'text'" in signature_problem(open_envelope({**envelope, "payloadType": "text"}), key)


@pytest.mark.parametrize("content", [None, [], {}, {"payload": "?", "payloadType": "", "signatures": 3}])
def test_what_is_no_envelope_is_told(content):
    with pytest.raises(InputError, match="not a DSSE envelope"):
        open_envelope(content)


@pytest.mark.parametrize("odd", [None, 3, [], {}])
@pytest.mark.parametrize("place", ["payload", "payloadType", "keyid", "sig"])
def test_an_envelope_with_something_else_than_text_is_told(signed, place, odd):
    envelope = json.loads(json.dumps(signed[0]))
    (envelope if place in envelope else envelope["signatures"][0])[place] = odd
    with pytest.raises(InputError, match=f"not a DSSE envelope .*{place} holds"):
        open_envelope(envelope)


def test_a_passphrase_comes_from_the_environment_or_is_asked_for(tmp_path, monkeypatch):
    private, _ = write_keys(tmp_path, Ed25519PrivateKey.generate(), b"secret")
    monkeypatch.setattr("getpass.getpass", lambda prompt: "secret")
    asked = private_key(private).public_key.keyid
    monkeypatch.setattr("getpass.getpass", lambda prompt: "wrong")
    with pytest.raises(InputError, match=r"cannot be used .* MU_MONAI_KEY_PASSPHRASE"):
        private_key(private)
    monkeypatch.setenv("MU_MONAI_KEY_PASSPHRASE", "secret")
    assert private_key(private).public_key.keyid == asked


def test_an_encrypted_key_without_a_terminal_is_told(tmp_path, monkeypatch):
    def no_terminal(prompt):
        raise EOFError

    private, _ = write_keys(tmp_path, Ed25519PrivateKey.generate(), b"secret")
    monkeypatch.setattr("getpass.getpass", no_terminal)
    with pytest.raises(InputError, match=r"no terminal .* MU_MONAI_KEY_PASSPHRASE"):
        private_key(private)


def test_files_that_are_no_keys_are_told(tmp_path):
    private, public = write_keys(tmp_path, Ed25519PrivateKey.generate())
    with pytest.raises(InputError, match=r"private key '.*' does not exist"):
        private_key(tmp_path / "gone.pem")
    with pytest.raises(InputError, match=r"private key '.*key.pub' cannot be used .* openssl genpkey"):
        private_key(public)
    with pytest.raises(InputError, match=r"public key '.*key.pem' cannot be used .* openssl pkey"):
        public_key(private)
    private, _ = write_keys(tmp_path, generate_private_key(SECP384R1()))
    with pytest.raises(InputError, match=r"Ed25519.* P-256.* RSA"):
        private_key(private)
