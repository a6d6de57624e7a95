"""Runs to release: a student of every bundle, made in a second; and releases that are signed."""

import json
import shutil
from concurrent.futures import Future
from functools import cache

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from securesystemslib.signer import CryptoSigner

from mu_monai import workflow
from mu_monai.files import read_json
from mu_monai.record import open_envelope, private_key, sign, statement
from mu_monai.workflow.workers.job import perform
from mu_monai.workflow.workers.workers import Engine

_QUICK = ["max_epochs=2", "learning_rate=0.01", "batch_size=4"]


@pytest.fixture(scope="session")
def unlearned(tmp_path_factory, teachers, phantom_splits):
    """The run of a bundle's student, by the bundle's name."""
    folder = tmp_path_factory.mktemp("unlearned")

    @cache
    def run(bundle):
        settings = [text for text in _QUICK if bundle != "volume3d" or "batch" not in text]
        return workflow.unlearn(
            bundle,
            split=phantom_splits[bundle],
            teacher=teachers[bundle],
            out=folder / bundle,
            settings=settings,
            quiet=True,
        )

    return run


@pytest.fixture(scope="session")
def released(tmp_path_factory, unlearned):
    """The folder that was released of it; tests only look at it, or copy it."""
    folder = tmp_path_factory.mktemp("released")
    return cache(lambda bundle: workflow.release(unlearned(bundle), out=folder / bundle))


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """Two private keys, and their public ones beside them."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("own", "other"):
        signer = CryptoSigner.generate_ed25519()
        (folder / f"{name}.pem").write_bytes(signer.private_bytes)
        public = load_pem_private_key(signer.private_bytes, None).public_key()
        (folder / f"{name}.pub").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return folder


@pytest.fixture(scope="session")
def sealed(tmp_path_factory, released, unlearned, teachers, keys):
    """A released folder with its record; tests copy it."""
    folder = tmp_path_factory.mktemp("sealed")
    out = shutil.copytree(released("isic"), folder / "isic")
    workflow.report([teachers["isic"], unlearned("isic")], out=folder / "report", record=out, key=keys / "own.pem")
    return out


@pytest.fixture
def folder(sealed, tmp_path):
    return shutil.copytree(sealed, tmp_path / "released")


@pytest.fixture
def checks(keys):
    """What `verify` says of a folder, by name."""

    def found(folder, key="own.pub", **options):
        return {check.name: check for check in workflow.verify(folder, key=keys / key, **options)}

    return found


@pytest.fixture
def salt(sealed):
    """The salt that was written when it was signed."""
    return sealed.with_name("isic.salt.txt")


@pytest.fixture(scope="session")
def said_in():
    """What a record of a folder says."""
    return lambda folder: json.loads(open_envelope(read_json(folder / "record.dsse.json")).payload)


@pytest.fixture(scope="session")
def sign_again(keys, said_in):
    """Signs a changed predicate, as whoever holds the key can."""

    def again(folder, change, key="own.pem"):
        said = said_in(folder)["predicate"]
        change(said)
        (folder / "record.dsse.json").write_text(json.dumps(sign(statement(folder, said), private_key(keys / key))))

    return again


class Here(Engine):
    """Runs jobs in this process, and loses the workers of those that it is told to."""

    at_once = 2

    def __init__(self, place="", share=0.0, folder=None, lost=()):
        self.lost, self.started = list(lost), []

    @staticmethod
    def problems(place, share):
        return []

    def submit(self, function, job):
        self.started.append(job.name)
        future = Future()
        if job.name in self.lost:
            self.lost.remove(job.name)
            future.set_exception(ConnectionError("gone"))
        else:
            future.set_result(perform(job))
        return future

    def submit_everywhere(self, function, *arguments):
        return []

    def close(self, *, now):
        pass


@pytest.fixture(scope="session")
def workers_here():
    return Here
