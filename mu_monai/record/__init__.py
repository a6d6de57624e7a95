"""What was run and measured, as a statement about released files, signed with the user's key."""

from __future__ import annotations

from mu_monai.record.envelope import open_envelope, private_key, public_key, sign, signature_problem
from mu_monai.record.evidence import (
    commitment,
    hash_ids,
    new_salt,
    pseudonym,
    read_evidence,
    read_salt,
    write_evidence,
    write_salt,
)
from mu_monai.record.identifiers import Identifiers
from mu_monai.record.predicate import NOT_AUDITED, limitations, predicate, without_cases, without_nan
from mu_monai.record.privacy import id_problems, signable
from mu_monai.record.schema import record_problems
from mu_monai.record.statement import (
    EVIDENCE,
    FORMAT,
    PREDICATE_TYPE,
    RECORD_JSON,
    file_problems,
    statement,
    type_problem,
)

__all__ = [
    "EVIDENCE",
    "FORMAT",
    "NOT_AUDITED",
    "PREDICATE_TYPE",
    "RECORD_JSON",
    "Identifiers",
    "commitment",
    "file_problems",
    "hash_ids",
    "id_problems",
    "limitations",
    "new_salt",
    "open_envelope",
    "predicate",
    "private_key",
    "pseudonym",
    "public_key",
    "read_evidence",
    "read_salt",
    "record_problems",
    "sign",
    "signable",
    "signature_problem",
    "statement",
    "type_problem",
    "without_cases",
    "without_nan",
    "write_evidence",
    "write_salt",
]
