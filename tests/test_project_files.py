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
