"""A short run of the campaign: damaged files are refused or rightly accepted, and killed commands lose nothing."""

import os
import subprocess
import sys

import pytest

KINDS = "pictures,volumes,DICOM,splits,records,weights,configs"
VERBS = "split,train,unlearn,evaluate,merge,predict,report"


@pytest.mark.end_to_end
def test_nothing_is_misread_in_silence_and_nothing_is_lost(repository, tmp_path):
    count = ["--mutations", "15", "--kills", "2", "--seconds", "1"]
    done = subprocess.run(
        [sys.executable, "benchmarks/campaign.py", "--fast", *count, "--only", f"{KINDS},{VERBS}", "--out", tmp_path],
        cwd=repository,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert all(f"\n{kind} " in f"\n{done.stdout}" for kind in f"{KINDS},{VERBS}".split(","))
