"""What a federation would do, and every input that it refuses before anything is trained."""

import json
import shutil
from dataclasses import replace

import pytest

from mu_monai import workflow
from mu_monai.bundle import open_bundle
from mu_monai.bundle.trust import Trust
from mu_monai.errors import InputError
from mu_monai.files import file_sha256, read_json, write_json
from mu_monai.runs.federation import SiteNumbers, read_federation, round_file, write_federation
from mu_monai.workflow.federation.sites import open_sites, read_sites
from tests.workflow.federation.conftest import ALL, STAY, changed, joined, kept, refused


def work(federation):
    return [(each.number, each.task, each.sites, each.damage) for each in federation.rounds]


def test_rounds_of_a_training(trained):
    assert [each.sites for each in read_federation(trained).rounds] == [STAY, STAY, ALL, ALL, ALL]


def test_rewind_goes_on_after_the_round_before_the_site_joined(trained, planned):
    federation, out = planned(trained, "rewind")
    assert work(federation) == [(3, "train", STAY, 0), (4, "train", STAY, 0), (5, "audit", ALL, 0)]
    assert [*kept(out)] == [0, 1, 2]  # those in which the site had no part, so that another site can leave later
    assert (federation.left, federation.leaver.name, [site.name for site in federation.sites]) == (
        "west",
        "west",
        [*STAY],
    )


def test_retraining_begins_anew(trained, planned):
    federation, out = planned(trained, "retraining")
    assert [each.number for each in federation.training] == [1, 2, 3, 4]
    assert {each.sites for each in federation.training} == {STAY}
    assert round_file(out, 0).is_file()


def test_retraining_does_not_begin_with_a_model_that_the_site_trained_alone(trained, planned):
    joined(trained, north=4, south=3, west=1)
    federation, out = planned(trained, "retraining")
    assert [(each.number, each.sites) for each in federation.training] == [(3, ("south",)), (4, STAY)]
    assert kept(out) == {0: 0, 1: 0, 2: 0}  # what the rounds begin with are the first weights


def test_rewind_goes_on_where_rounds_have_nobody(trained, planned):
    joined(trained, north=4, south=4, west=2)  # as after the site of round 1 was left out of a retraining
    federation, out = planned(trained, "rewind")
    assert [(each.number, each.sites) for each in federation.training] == [(4, STAY)]
    assert kept(out) == {0: 0, 1: 1, 2: 1, 3: 1}
    digests = read_federation(trained).models
    assert federation.models == {"0": digests["0"], "1": digests["1"], "2": digests["1"], "3": digests["1"]}


def test_distil_damages_once(trained, planned):
    federation, out = planned(trained, "distil", rounds=3, damage=0.4)
    assert work(federation)[:3] == [(5, "restore", STAY, 0.4), (6, "restore", STAY, 0.0), (7, "restore", STAY, 0.0)]
    assert list((out / "rounds").iterdir()) == []  # the model that knew the site was there, and is not kept


def test_the_damage_follows_from_what_the_site_measured(trained, planned):
    federation, _ = planned(trained, "distil")
    assert federation.rounds[0].damage == pytest.approx(0.7 * 0.5**2)


def test_unlearn_is_at_the_site_that_leaves_and_the_others_recover(trained, planned):
    federation, _ = planned(trained, "unlearn", settings=["learning_rate=1e-4"])
    assert work(federation)[:3] == [(5, "unlearn", ("west",), 0), (6, "train", STAY, 0), (7, "train", STAY, 0)]
    assert federation.forgetting == {"learning_rate": 1e-4}


def test_a_site_without_validation_cases_cannot_unlearn(trained, sites_file, with_nvflare):
    content, bare = read_json(sites_file.parent / "west.json"), sites_file.parent / "bare.json"
    write_json(bare, content | {"validation": []})
    *others, west = read_federation(trained).sites
    changed(trained, sites=(*others, replace(west, split=str(bare), sha256=file_sha256(bare))))
    said = refused(trained, route="unlearn")
    assert f"site 'west' has no cases in 'validation' of '{bare}', whose losses say when it has unlearned" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"site": "wst"},
            "site 'wst' is not in the federation; its sites are north, south, west; did you mean 'west'?",
        ),
        ({"site": "north"}, "site 'north' took part from round 1, so there is no round before it joined to go back to"),
        ({"route": "rewnd"}, "--route rewnd is not known; use rewind, distil, unlearn, retraining; did you mean"),
        ({"rounds": 2}, "--rounds is for the routes distil and unlearn"),
        ({"damage": 0.3}, "--damage is for the route distil, and this is rewind"),
        ({"settings": ["learning_rate=1"]}, "--set is for the routes distil and unlearn"),
        ({"route": "distil", "damage": 1.5}, "--damage 1.5 is not allowed"),
        ({"route": "distil", "rounds": 0}, "--rounds 0 is not allowed"),
        ({"route": "distil", "settings": ["method#damage=1"]}, "--set method#damage is not for a federation"),
        ({"route": "unlearn", "settings": ["lerning_rate=1"]}, "the closest are learning_rate"),
    ],
)
def test_what_cannot_be_forgotten_is_refused(trained, with_nvflare, options, said):
    assert said in refused(trained, **options)


def test_the_last_but_one_site_cannot_leave(trained, with_nvflare):
    changed(trained, sites=read_federation(trained).sites[1:])
    assert "without 'west' only one site is left (south), which is not a federation" in refused(trained)


def test_a_site_leaves_once(trained, with_nvflare):
    before = read_federation(trained)
    changed(trained, left="west", sites=before.sites[:2], leaver=before.sites[2])
    assert "site 'west' was forgotten already" in refused(trained)


def test_an_unfinished_federation_is_refused(trained, with_nvflare):
    changed(trained, status="running")
    assert "is not finished" in refused(trained)


def test_without_the_round_before_it_joined_there_is_no_way_back(trained, with_nvflare):
    round_file(trained, 2).unlink()
    assert "the model after round 2, the last before 'west' joined, is not in" in refused(trained)
    round_file(trained, 0).unlink()
    assert "the model that training started from is not in" in refused(trained, route="retraining")


@pytest.mark.parametrize(("auc", "said"), [(None, "did not measure its membership"), (0.4, "do not tell its patients")])
def test_no_damage_without_a_membership(trained, with_nvflare, auc, said):
    numbers = read_federation(trained).numbers
    changed(trained, numbers=tuple(replace(each, auc=auc) for each in numbers))
    assert said in refused(trained, route="distil")


def test_another_version_of_the_bundle_is_refused(trained, with_nvflare):
    changed(trained, version="9.9.9")
    assert "the federation trained the bundle isic 9.9.9, and" in refused(trained)


def test_configs_that_changed_after_the_training_are_refused(trained, planned):
    place = shutil.copytree(open_bundle("isic").place, trained.parent / "isic")
    train = place / "configs" / "train.json"
    trust = Trust(bundle=str(place))
    assert planned(trained, "rewind", trust=trust)[0].configs == read_federation(trained).configs
    train.write_text(json.dumps(read_json(train) | {"learning_rate": 0.5}))
    said = refused(trained, trust=trust)
    assert (
        f"and '{place}' is {open_bundle('isic').version}, or has other code or configs; give the bundle as it" in said
    )


def test_a_federation_of_an_earlier_version_says_that_its_configs_are_not_known(trained, planned, caplog):
    changed(trained, configs="")
    assert "configs" not in read_json(trained / "federation.json")
    federation, _ = planned(trained, "distil")
    assert federation.configs == open_bundle("isic").configs_sha256  # those that the rounds from now on have
    assert f"'{trained}' was made by an earlier version, which kept no digest of the bundle's configs" in caplog.text


def test_another_split_is_refused(trained, with_nvflare):
    first, *others = read_federation(trained).sites
    changed(trained, sites=(replace(first, sha256="0"), *others))
    assert "site 'north' has another split than in the training" in refused(trained)


def test_missing_nvflare_is_said_before_anything_else(trained, sites_file, monkeypatch, mu_monai, tmp_path):
    monkeypatch.setattr("mu_monai.workflow.federation.simulating.find_spec", lambda name: None)
    said = "a federation needs NVFlare, which is not installed: pip install 'mu-monai[federated]'"
    for words in (
        ["train", "isic", "--sites", sites_file, "--rounds", "4", "--out", tmp_path / "out"],
        ["forget-site", trained, "--site", "west", "--route", "rewind", "--out", tmp_path / "out"],
        ["demo", "--out", tmp_path / "out"],
    ):
        code, _, err = mu_monai("federation", *words)
        assert (code, said in err) == (2, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"north": {"split": "north.json"}}, "names 1 sites; a federation has at least 2"),
        ({"North": {"split": "a"}, "b": {"split": "b"}}, "'North' cannot be the name of a site"),
        ({"server": {"split": "a"}, "b": {"split": "b"}}, "'server' cannot be the name of a site"),
        ({"a": {}, "b": {"split": "b"}}, "site 'a' names no split"),
        ({"a": {"split": "a", "join": 1}, "b": {"split": "b"}}, "site 'a' has 'join', which are not known"),
        (
            {"a": {"split": "a", "joins": 9}, "b": {"split": "b"}},
            "site 'a' joins in round 9; use a whole number from 1",
        ),
        ({"a": {"split": "a", "joins": 2}, "b": {"split": "b", "joins": 2}}, "takes part in round 1"),
        ({"a": {"split": "a", "bundle": 1}, "b": {"split": "b"}}, "the bundle of site 'a' is not a path"),
    ],
)
def test_a_file_of_sites_that_says_too_little_is_refused(tmp_path, content, said):
    file = tmp_path / "sites.json"
    file.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        read_sites(file, open_bundle("isic"), 4)
    assert said in str(caught.value)


def opened(sites_file, tmp_path, **changes):
    content = read_json(sites_file)
    for entry in content.values():
        entry["split"] = str(sites_file.parent / entry["split"])
    for name, change in changes.items():
        content[name] |= change
    write_json(tmp_path / "sites.json", content)
    bundle = open_bundle("isic")
    with pytest.raises(InputError) as caught:
        open_sites(read_sites(tmp_path / "sites.json", bundle, 4), bundle)
    return str(caught.value)


def test_a_site_with_another_version_of_the_bundle_is_refused(sites_file, tmp_path):
    place = shutil.copytree(open_bundle("isic").place, tmp_path / "isic")
    for file in (place / "configs" / "metadata.json", place / "metadata.json"):
        file.write_text(file.read_text().replace(f'"version": "{open_bundle("isic").version}"', '"version": "9.9.9"'))
    said = opened(sites_file, tmp_path, west={"bundle": str(place)})
    assert "site 'west': it has the bundle isic 9.9.9, and the federation trains isic" in said


def test_other_code_in_the_bundle_of_a_site_is_refused(sites_file, tmp_path):
    place = shutil.copytree(open_bundle("isic").place, tmp_path / "isic")
    (place / "own.py").write_text("")
    assert "the code in its bundle" in opened(sites_file, tmp_path, west={"bundle": str(place)})


@pytest.mark.parametrize(
    ("name", "content"), [("train.json", {"learning_rate": 0.5}), ("extra.yaml", {}), ("more/extra.yml", {})]
)
def test_other_configs_in_the_bundle_of_a_site_are_refused(sites_file, tmp_path, name, content):
    place = shutil.copytree(open_bundle("isic").place, tmp_path / "isic")
    file = place / "configs" / name
    write_json(file, (read_json(file) if file.is_file() else {}) | content)
    said = opened(sites_file, tmp_path, west={"bundle": str(place)})
    assert (
        f"the configs in its bundle '{place}' are not those of '{open_bundle('isic').place}'; give it the same" in said
    )


def test_a_site_with_the_images_of_another_is_refused(sites_file, tmp_path):
    said = opened(sites_file, tmp_path, west={"split": str(sites_file.parent / "north.json")})
    assert "sites 'north' and 'west' have 5 images in common" in said


def test_a_split_that_forgets_is_refused(sites_file, phantom_splits, tmp_path):
    said = opened(sites_file, tmp_path, west={"split": phantom_splits["isic"]})
    assert "has cases in 'forget', and a federation forgets whole sites" in said


def test_training_is_refused_with_every_problem(sites_file, with_nvflare, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    settings = ["max_epochs=3", "seed=-1", "lerning_rate=1"]
    with pytest.raises(InputError) as caught:
        workflow.train_federation(
            "isic", sites=sites_file, rounds=0, local_epochs=0, out=tmp_path / "out", settings=settings, device="no"
        )
    said = str(caught.value)
    for part in ("--rounds 0", "--local-epochs 0", "seed=-1", "learning_rate", "--local-epochs", "is not empty", "no"):
        assert part in said


def test_the_table_has_a_row_for_each_federation(trained, planned, mu_monai):
    federation, out = planned(trained, "rewind")
    numbers = tuple(
        SiteNumbers(site=name, metric="dice", value=0.7, unseen=5, trained=10, auc=0.5, auc_low=0.4, auc_high=0.6)
        for name in ALL
    )
    done = [replace(each, bytes=2_000_000, passes=4) for each in federation.rounds]
    write_federation(out, replace(federation, status="finished", rounds=tuple(done), numbers=numbers))
    table = workflow.compare_federations([trained, out])
    assert table.to_dict("records")[1] == {
        **{"folder": "without-by-rewind", "route": "rewind", "rounds": 2, "MB": 4.0, "passes": 8},
        **{"dice north": "0.700", "dice south": "0.700", "dice west": "0.700", "AUC west": "0.50 (0.40 to 0.60)"},
    }
    assert table["AUC west"][0] == "0.75"
    code, out, _ = mu_monai("federation", "compare", trained, out)
    assert (code, "without-by-rewind" in out) == (0, True)


def test_federations_that_cannot_be_compared_are_refused(trained, tmp_path):
    with pytest.raises(InputError, match=r"has no federation\.json"):
        workflow.compare_federations([tmp_path])
    changed(trained, status="running")
    with pytest.raises(InputError, match="is not finished"):
        workflow.compare_federations([trained])


def test_a_changed_record_is_refused(trained):
    file = trained / "federation.json"
    file.write_text(file.read_text().replace('"auc": 0.75', '"auc": 0.5'))
    with pytest.raises(InputError, match="was changed after it was written"):
        read_federation(trained)
