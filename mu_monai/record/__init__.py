"""What was run and measured, as a statement about released files that a key of the user's signs."""

from __future__ import annotations

from mu_monai.record.envelope import open_envelope, private_key, public_key, sign, signature_problem
from mu_monai.record.evidence import hash_ids, hash_text, pseudonym, read_evidence, salt_of, write_evidence
from mu_monai.record.predicate import predicate, without_nan
from mu_monai.record.privacy import id_problems, without_paths
from mu_monai.record.statement import (
    EVIDENCE,
    PREDICATE_TYPE,
    RECORD_JSON,
    file_problems,
    statement,
    type_problem,
)

__all__ = [
    "EVIDENCE",
    "PREDICATE_TYPE",
    "RECORD_JSON",
    "file_problems",
    "hash_ids",
    "hash_text",
    "id_problems",
    "open_envelope",
    "predicate",
    "private_key",
    "pseudonym",
    "public_key",
    "read_evidence",
    "salt_of",
    "sign",
    "signature_problem",
    "statement",
    "type_problem",
    "without_nan",
    "without_paths",
    "write_evidence",
]
