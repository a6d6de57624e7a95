"""The folder of a federation that anybody may have made: nothing in it is executed or leads elsewhere."""

from dataclasses import replace

import pytest

from mu_monai import workflow
from mu_monai.bundle.trust import Trust
from mu_monai.errors import InputError
from mu_monai.runs.federation import read_federation, round_file, write_federation
from tests.workflow.federation.conftest import changed, refused


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings": {"loss": "$__import__('os').abort()"}}, "is more than numbers"),
        ({"settings": {"network_def::_target_": 1}}, "is more than numbers"),
        ({"device": "cpu') or print('"}, "cannot be used"),
        ({"name": "strangers"}, "a run must not decide whose code is executed"),
    ],
)
def test_a_federation_of_a_stranger_executes_nothing(trained, with_nvflare, changes, said):
    changed(trained, **changes)
    assert said in refused(trained)


def test_names_of_a_stranger_lead_nowhere(trained, with_nvflare):
    first, *others = read_federation(trained).sites
    changed(trained, sites=(replace(first, name="../.."), *others))
    assert "'../..' cannot be the name of a site" in refused(trained)


@pytest.mark.parametrize("route", ["rewind", "retraining", "distil"])
def test_a_federation_with_links_is_not_opened(trained, with_nvflare, route):
    secret = trained.parent / "secret"
    secret.write_text("of somebody else")
    for number in range(5):
        round_file(trained, number).unlink()
        round_file(trained, number).symlink_to(secret)
    said = refused(trained, route=route)
    assert f"'{round_file(trained, 0)}' is a link, and its target was chosen by the maker of '{trained}'" in said
    with pytest.raises(InputError, match="is a link"):
        workflow.compare_federations([trained])


def test_nor_is_one_with_links_continued(trained, planned):
    federation, out = planned(trained, "rewind")
    write_federation(out, federation)
    (out / "sites").symlink_to(trained)
    with pytest.raises(InputError, match=r"'.*sites' is a link"):
        planned(trained, "rewind", resume=True)


def test_whoever_made_it_may_be_trusted(trained, planned):
    changed(trained, settings={"loss": "$code"})
    assert planned(trained, "rewind", trust=Trust(config=True))[0].settings == {"loss": "$code"}
