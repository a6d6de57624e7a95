"""Options are said once, have types, and reach the verbs."""

import ast
import importlib
import inspect
import typing
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mu_monai import cli, workflow
from mu_monai.bundle.trust import Trust
from mu_monai.data import Patterns

FILES = sorted(Path(cli.__file__).parent.glob("*.py"))
COMMANDS = {command.callback.__name__: command.callback for command in cli.app.registered_commands}
VERBS = [name for name in workflow.__all__ if callable(getattr(workflow, name))]
UNTYPED = (typing.Any, object, inspect.Parameter.empty)


@pytest.mark.parametrize("name", [path.stem for path in FILES if path.stem != "__init__"])
def test_every_module_of_the_command_line_is_found_under_its_name(name):
    module = importlib.import_module(f"mu_monai.cli.{name}")
    assert getattr(cli, name) is module


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_file_and_uses_all_its_options(name):
    function = COMMANDS[name]
    assert function.__module__ == f"mu_monai.cli.{name}"
    used = {node.id for node in ast.walk(ast.parse(inspect.getsource(function))) if isinstance(node, ast.Name)}
    assert set(inspect.signature(function).parameters) - used == set()


def test_what_an_option_does_is_said_in_one_place():
    said = [
        keyword.value.value
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("Option", "Argument")
        for keyword in node.keywords
        if keyword.arg == "help"
    ]
    assert len(said) > 50
    assert sorted({text for text in said if said.count(text) > 1}) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_command_line_hands_no_mapping_of_options_over(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    unpacked = [ast.unparse(call) for call in calls if any(keyword.arg is None for keyword in call.keywords)]
    assert unpacked == []


@pytest.mark.parametrize("name", VERBS)
def test_the_type_checker_sees_every_option_of_a_verb(name):
    """No `**options`, no mapping, nothing of any type."""
    verb = getattr(workflow, name)
    types = typing.get_type_hints(verb.__init__ if inspect.isclass(verb) else verb)
    for parameter in inspect.signature(verb).parameters.values():
        assert parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        parts = list(_parts(types[parameter.name]))
        assert [part for part in parts if part in UNTYPED or _is_mapping(part)] == []


def _parts(kind):
    yield typing.get_origin(kind) or kind
    for part in typing.get_args(kind):
        yield from _parts(part)


def _is_mapping(kind):
    return inspect.isclass(kind) and issubclass(kind, typing.Mapping)


@pytest.fixture
def called(monkeypatch):
    """What a command line calls its verb with."""

    def call(verb_name, *words):
        given = {}

        def verb(*places, **options):
            given.update(options, places=places)
            raise KeyboardInterrupt  # nothing is done with it

        monkeypatch.setattr(workflow, verb_name, verb)
        CliRunner().invoke(cli.app, words)
        return given

    return call


TRAINING = "--set a=1 --set b=2 --resume --device cpu --quiet --out o"
TRAINED = {"settings": ["a=1", "b=2"], "resume": True, "device": "cpu", "quiet": True, "out": Path("o")}
ABOUT = "--overlay paper_size --forget-class lesion --split s.json"
SAID = {"overlays": ["paper_size"], "forget_classes": ["lesion"], "split": Path("s.json")}
GIVEN = "--bundle mine --trust-config"
TRUSTED = {"trust": Trust(bundle=Path("mine"), config=True)}
CALLS = {
    f"train isic --subsets retain --forget-images-gone --processes 2 {TRAINING} {ABOUT}": {
        **{"places": ("isic",), "subsets": ["retain"], "forget_images_gone": True, "processes": 2},
        **TRAINED,
        **SAID,
    },
    "train isic --subsets retain --base b.pt --shards 8 --shard-by site --split s.json --overlay paper_size "
    f"{TRAINING}": {
        **{"verb": "train_shards", "places": ("isic",), "base": Path("b.pt"), "shards": 8, "shard_by": "site"},
        **{"split": Path("s.json"), "subsets": ["retain"], "overlays": ["paper_size"]},
        **TRAINED,
    },
    f"train isic --subsets retain --folds 5 --split s.json --overlay paper_size {TRAINING}": {
        **{"verb": "train_folds", "places": ("isic",), "folds": 5, "split": Path("s.json"), "subsets": ["retain"]},
        **{"overlays": ["paper_size"]},
        **TRAINED,
    },
    "unlearn isic --exact --teacher t --split s.json --overlay paper_size --plan --forget-images-gone --resume "
    "--device cpu --quiet --out o --trust-config": {
        **{"verb": "unlearn_exactly", "places": ("isic",), "teacher": Path("t"), "split": Path("s.json")},
        **{"overlays": ["paper_size"], "plan": True, "forget_images_gone": True, "resume": True, "device": "cpu"},
        **{"quiet": True, "out": Path("o"), "trust": Trust(bundle="isic", config=True)},
    },
    "rollback --folds f --split s.json --out o --teacher t --budget 0.1 --forget-images-gone --plan --resume "
    f"--device cpu --quiet {GIVEN}": {
        **{"places": (Path("f"),), "split": Path("s.json"), "out": Path("o"), "teacher": Path("t"), "budget": 0.1},
        **{"forget_images_gone": True, "plan": True, "resume": True, "device": "cpu", "quiet": True},
        **TRUSTED,
    },
    f"shards r {GIVEN}": {"places": (Path("r"),), **TRUSTED},
    "unlearn isic --teacher t --method npo --preset paper --lora-targets head --milestones m --budget 0.05 --plan "
    f"--forget-images-gone --processes 2 {TRAINING} {ABOUT} --trust-config": {
        **{"places": ("isic",), "teacher": Path("t"), "method": "npo", "preset": "paper", "lora_targets": "head"},
        **{"milestones": Path("m"), "budget": 0.05, "forget_images_gone": True},
        **{"plan": True, "processes": 2},
        **{"trust": Trust(bundle="isic", config=True)},
        **TRAINED,
        **SAID,
    },
    f"compose a b --how weights --share 0.3 --fine-tune head --split s.json --teacher t.pt {TRAINING} {GIVEN}": {
        **{"places": (Path("a"), Path("b")), "how": "weights", "share": 0.3, "fine_tune": "head"},
        **{"split": Path("s.json"), "teacher": Path("t.pt")},
        **TRAINED,
        **TRUSTED,
    },
    f"evaluate r --split s.json --teacher t.pt --device cpu --processes 2 {GIVEN}": {
        **{"places": (Path("r"),), "split": Path("s.json"), "teacher": Path("t.pt"), "device": "cpu"},
        **{"processes": 2},
        **TRUSTED,
    },
    f"milestones r --split s.json --milestones m --device cpu {GIVEN}": {
        **{"places": (Path("r"),), "split": Path("s.json"), "folder": Path("m"), "device": "cpu"},
        **TRUSTED,
    },
    f"predict r a.png b.png --split s.json --out o --device cpu {GIVEN}": {
        **{"places": (Path("r"), [Path("a.png"), Path("b.png")]), "split": Path("s.json"), "out": Path("o")},
        **{"device": "cpu"},
        **TRUSTED,
    },
    **{
        f"{verb} r --out o --teacher t.pt {GIVEN}": {
            **{"places": (Path("r"),), "out": Path("o"), "teacher": Path("t.pt")},
            **TRUSTED,
        }
        for verb in ("revert", "merge")
    },
    f"release r --out o --split s.json --teacher t.pt --ledger l {GIVEN}": {
        **{"places": (Path("r"),), "out": Path("o"), "split": Path("s.json"), "teacher": Path("t.pt")},
        **{"ledger": Path("l")},
        **TRUSTED,
    },
    "report r --out o --no-images --record f --key k": {
        **{"places": ([Path("r")],), "out": Path("o"), "images": False, "record": Path("f"), "key": Path("k")},
    },
    "verify f --public-key k --split s.json --salt s.txt --without-evidence": {
        **{"places": (Path("f"),), "key": Path("k"), "split": Path("s.json"), "salt": Path("s.txt")},
        **{"without_evidence": True},
    },
    "split f --out o.json --layout dicom --images {case}.png --labels {case}_m.png --patient {case} --label-set 1stHO "
    "--salt secret --forget 0.1 --forget-ids i.txt --forget-where age>60 --forget-fraction-of 0.5 --validation 0.3 "
    "--test 0.4 --group-by site --seed 7 --from-bundle b "
    "--on-duplicates drop --strict --force --picture-range 0 4095 --label-map {205:1} --structure liver --structure 2 "
    "--explain": {
        **{"places": (Path("f"),), "out": Path("o.json"), "layout": "dicom", "label_set": "1stHO", "salt": "secret"},
        **{"from_bundle": Path("b")},
        **{"patterns": Patterns(images="{case}.png", labels="{case}_m.png", patient="{case}")},
        **{"forget": workflow.ForgetChoice(fraction=0.1, ids=Path("i.txt"), where="age>60", share=0.5)},
        **{"validation": 0.3, "test": 0.4, "group_by": "site", "seed": 7, "on_duplicates": "drop"},
        **{"strict": True, "force": True, "picture_range": (0, 4095), "label_map": "{205:1}", "explain": True},
        **{"structures": ["liver", "2"]},
    },
    "demo --out o --volume --quiet": {"places": (), "out": Path("o"), "volume": True, "quiet": True},
}

REQUESTS = {
    "request add l --run r --forget-ids i.txt --forget-id a --forget-id b --forget-where age>60 --requester me "
    "--received 2026-01-01 --deadline 2026-01-31 --split s.json": {
        **{"verb": "add_request", "places": (Path("l"),), "run": Path("r"), "ids": ["a", "b"], "requester": "me"},
        **{"forget": workflow.ForgetChoice(ids=Path("i.txt"), where="age>60"), "split": Path("s.json")},
        **{"received": "2026-01-01", "deadline": "2026-01-31"},
    },
    **{
        f"request run l {plan} --route rewind --folds f --budget 0.1 --forget-images-gone --set a=1 --split s.json "
        f"--device cpu --quiet {GIVEN}": {
            **{"verb": verb, "places": (Path("l"),), "split": Path("s.json")},
            "options": workflow.RequestOptions(
                route="rewind",
                folds=Path("f"),
                budget=0.1,
                settings=["a=1"],
                forget_images_gone=True,
                device="cpu",
                quiet=True,
            ),
            **TRUSTED,
        }
        for plan, verb in (("--plan", "plan_requests"), ("", "answer_requests"))
    },
    "request status l": {"verb": "request_status", "places": (Path("l"),)},
    "request verify l --backup a --backup b --head d --split s.json": {
        **{"verb": "verify_requests", "places": (Path("l"),), "backups": [Path("a"), Path("b")], "head": "d"},
        **{"split": Path("s.json")},
    },
}


FEDERATIONS = {
    "federation train isic --sites s.json --rounds 8 --out o --local-epochs 2 --start w.pt --set a=1 --resume "
    "--device cpu": {
        **{"verb": "train_federation", "places": ("isic",), "sites": Path("s.json"), "rounds": 8, "out": Path("o")},
        **{"local_epochs": 2, "start": Path("w.pt"), "settings": ["a=1"], "device": "cpu"},
        **{"resume": True},
    },
    f"federation forget-site f --site west --route distil --out o --rounds 2 --damage 0.3 --set a=1 --resume {GIVEN}": {
        **{"verb": "forget_site", "places": (Path("f"),), "site": "west", "route": "distil", "out": Path("o")},
        **{"rounds": 2, "damage": 0.3, "settings": ["a=1"], "resume": True},
        **TRUSTED,
    },
    "federation compare f g": {"verb": "compare_federations", "places": ([Path("f"), Path("g")],)},
    "federation demo --out o": {"verb": "demo_federation", "places": (), "out": Path("o")},
}
GROUPED = REQUESTS | FEDERATIONS


@pytest.mark.parametrize("words", GROUPED, ids=lambda words: " ".join(words.split()[:4]))
def test_all_options_of_a_group_reach_the_verb(called, words):
    expected = dict(GROUPED[words])
    assert called(expected.pop("verb"), *words.split()) == expected
    group, name, *_ = words.split()
    command = typer.main.get_command(cli.app).commands[group].commands[name]
    given = [word for row in GROUPED if row.split()[:2] == [group, name] for word in row.split()]
    assert [
        option.name for option in command.params if option.opts[0].startswith("-") and not _said(option, given)
    ] == []


def test_every_command_with_options_has_a_row():
    """Those of `audit` and `compare`: see their own tests."""
    options = {name for name, function in COMMANDS.items() if inspect.signature(function).parameters}
    assert options - {"audit", "compare"} == {words.partition(" ")[0] for words in CALLS}


@pytest.mark.parametrize("command", dict.fromkeys(words.partition(" ")[0] for words in CALLS))
def test_every_option_has_a_row(command):
    given = [word for words in CALLS for word in words.split() if words.partition(" ")[0] == command]
    parameters = typer.main.get_command(cli.app).commands[command].params
    assert [option.name for option in parameters if option.opts[0].startswith("-") and not _said(option, given)] == []


@pytest.mark.parametrize("words", CALLS, ids=lambda words: " ".join(words.split()[:3]))
def test_all_options_reach_the_verb(called, words):
    command, *given = words.split()
    expected = dict(CALLS[words])
    assert called(expected.pop("verb", command), command, *given) == expected


def _said(option, given):
    return bool({*option.opts, *option.secondary_opts} & {*given})


def test_what_is_not_given_keeps_the_defaults_of_the_verb():
    """A default that stands in a command and in its verb is the same."""
    for name in ("split", "train", "unlearn", "compose", "evaluate", "milestones", "predict", "report", "verify"):
        ours, theirs = (inspect.signature(found).parameters for found in (COMMANDS[name], getattr(workflow, name)))
        for option in ours.keys() & theirs.keys():
            default = theirs[option].default
            if default is not inspect.Parameter.empty and option not in ("forget", "settings", "subsets"):
                assert ours[option].default == default, (name, option)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("train isic --base b.pt --shards 8 --folds 0 --split s.json --out o", "--folds and training in shards"),
        ("train isic --base b.pt --shards 8 --processes 0 --out o", "--processes and training in shards"),
        ("unlearn isic --exact --budget 0 --teacher t --split s.json --out o", "--budget and --exact"),
    ],
)
def test_a_zero_is_given_too(mu_monai, words, told):
    code, _, err = mu_monai(*words.split())
    assert code == 2
    assert f"{told} contradict each other" in err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("train isic --base b.pt --shards 8 --split s.json --out o", "training in shards"),
        ("train isic --folds 5 --split s.json --out o", "--folds"),
        ("unlearn isic --exact --teacher t --split s.json --out o", "--exact"),
    ],
)
def test_processes_are_refused_where_they_would_be_ignored(mu_monai, words, what):
    code, _, told = mu_monai(*words.split(), "--processes", "2")
    assert code == 2
    assert f"--processes and {what} contradict each other" in told
