"""What was run and measured, as a signed statement about released files; and the ledger of requests."""

from __future__ import annotations

from mu_monai.record.entries import Answer, Membership, Recheck, Request, Start, Version
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
from mu_monai.record.ledger import Ledger, append, is_ledger, read_ledger
from mu_monai.record.predicate import KEY, NOT_AUDITED, is_exact, limitations, predicate, without_cases, without_nan
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
    "KEY",
    "NOT_AUDITED",
    "PREDICATE_TYPE",
    "RECORD_JSON",
    "Answer",
    "Identifiers",
    "Ledger",
    "Membership",
    "Recheck",
    "Request",
    "Start",
    "Version",
    "append",
    "commitment",
    "file_problems",
    "hash_ids",
    "id_problems",
    "is_exact",
    "is_ledger",
    "limitations",
    "new_salt",
    "open_envelope",
    "predicate",
    "private_key",
    "pseudonym",
    "public_key",
    "read_evidence",
    "read_ledger",
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
