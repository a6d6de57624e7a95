"""What the project says of itself to tools: license, citation, security."""

import tomllib

import yaml

import mu_monai


def test_one_license_holds_for_every_file(repository):
    reuse = tomllib.loads((repository / "REUSE.toml").read_text())
    assert [(each["path"], each["SPDX-License-Identifier"]) for each in reuse["annotations"]] == [("**", "Apache-2.0")]
    assert (repository / "LICENSES" / "Apache-2.0.txt").read_bytes() == (repository / "LICENSE").read_bytes()


def test_the_citation_is_of_this_version(repository):
    citation = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (mu_monai.__version__, "Apache-2.0")
    identifiers = [each["value"] for paper in citation["references"] for each in paper["identifiers"]]
    assert identifiers == ["arXiv:2511.16574", "arXiv:2505.21872"]


def test_the_workflow_runs_what_contributors_run_on_every_python(repository):
    workflow = yaml.safe_load((repository / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["test"]
    assert job["steps"][-1]["run"].startswith("make test")
    least = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert job["strategy"]["matrix"]["python"][0] == least
    assert workflow["permissions"] == {"contents": "read"}


def test_the_forms_for_issues_say_that_no_patients_belong_there(repository):
    forms = {path.name: yaml.safe_load(path.read_text()) for path in (repository / ".github/ISSUE_TEMPLATE").iterdir()}
    assert {"name", "description", "body"} <= forms["fault.yml"].keys() & forms["addition.yml"].keys()
    assert "Never attach images, identifiers or weights" in forms["fault.yml"]["body"][0]["attributes"]["value"]


def test_the_image_of_a_container_takes_what_there_is(repository):
    copied = [line.split()[1:-1] for line in (repository / "Dockerfile").read_text().splitlines() if "COPY" in line]
    names = {name for each in copied for name in each}
    kept = (repository / ".dockerignore").read_text().splitlines()
    assert all((repository / name).exists() and f"!{name}" in kept for name in names)
