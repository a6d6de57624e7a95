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


@pytest.mark.parametrize("route", ["rewind", "distil", "unlearn", "retraining"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rounds": ()}, "says that the training had 4 rounds, and names 0 in which weights changed"),
        ({"total": 0}, "says that the training had 0 rounds, and names 4 in which weights changed"),
        ({"total": 2}, "site 'west' joins in round 3 of federation.json, and the training had rounds 1 to 2"),
    ],
)
def test_a_record_of_no_training_is_refused(trained, with_nvflare, route, changes, said):
    changed(trained, **changes)
    assert said in refused(trained, route=route)


def test_a_site_that_joins_in_no_round_is_refused(trained, with_nvflare):
    *others, west = read_federation(trained).sites
    changed(trained, sites=(*others, replace(west, joins=0)))
    assert "site 'west' joins in round 0 of federation.json, and the training had rounds 1 to 4" in refused(trained)


def test_a_record_without_numbers_is_not_compared(trained):
    changed(trained, numbers=())
    with pytest.raises(InputError, match=f"the federation in '{trained}' has no numbers of its sites"):
        workflow.compare_federations([trained])


def test_an_interval_with_one_end_is_none(trained):
    changed(
        trained, numbers=tuple(replace(each, auc_low=0.5) for each in read_federation(trained).numbers), left="west"
    )
    assert workflow.compare_federations([trained])["AUC west"].tolist() == ["0.75"]


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
