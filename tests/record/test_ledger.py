"""The chain of a ledger: what was edited, cut, forked or torn, and what a kill leaves."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from mu_monai.errors import InputError
from mu_monai.record.course import impossible
from mu_monai.record.entries import Answer, Membership, Recheck, Request, Start, Version
from mu_monai.record.ledger import HEAD_JSON, LEDGER_JSONL, Ledger, append, is_ledger, read_ledger

FIRST = Version(number=1, run="runs/teacher", role="teacher", weights="w1", split="s1", split_file="split.json")


def asked(ledger):
    number = len(ledger.requests) + 1
    names = (f"patient-{number}",), (f"case-{number}",)
    return Request(number=number, received="2026-01-01", deadline="2026-01-31", patients=names[0], cases=names[1])


def answered(number, requests, *, back=(), weights=None, route="rewind"):
    version = Version(
        number=number,
        run=f"version-{number}",
        role="student",
        weights=weights or f"w{number}",
        split="s",
        split_file="f",
    )
    return Answer(
        version=version,
        requests=requests,
        route=route,
        membership=tuple(Membership(request=each, patients=1, auc=0.5) for each in requests),
        audit=tuple(Recheck(request=each, then=0.5, now=0.9, came_back=True) for each in back),
    )


def begun(number, requests, route="rewind"):
    return Start(version=number, requests=requests, route=route, why=("none is better",), split="s")


def answer(folder, entry):
    """Begin a version and enter its answer; the ledger."""
    append(folder, lambda ledger: begun(entry.version.number, entry.requests, entry.route))
    return append(folder, lambda ledger: entry)


@pytest.fixture
def folder(tmp_path):
    """A ledger of a version and three requests."""
    append(tmp_path, lambda ledger: FIRST)
    for _ in range(3):
        append(tmp_path, asked)
    return tmp_path


def lines(folder):
    return (folder / LEDGER_JSONL).read_text().splitlines(keepends=True)


def rewrite(folder, changed):
    (folder / LEDGER_JSONL).write_text("".join(changed))


def test_what_is_read_is_what_was_written(folder):
    ledger = read_ledger(folder)
    assert ledger.first == FIRST
    assert list(ledger.requests) == ledger.waiting == [1, 2, 3]
    assert (ledger.answered, ledger.begun, ledger.next_version) == ({}, None, 2)
    assert append(folder, lambda ledger: begun(2, (1, 2))) == read_ledger(folder)
    assert read_ledger(folder).begun == begun(2, (1, 2))
    assert append(folder, lambda ledger: answered(2, (1, 2))) == read_ledger(folder)
    ledger = read_ledger(folder)
    assert (ledger.current.number, ledger.waiting, ledger.begun, ledger.next_version) == (2, [3], None, 3)
    assert (ledger.held_by("w1"), ledger.held_by("w2"), ledger.held_by("w9")) == ([1, 2], [], [])
    assert ledger.request_of(["case-2"]) == 2


def test_a_refused_version_answers_nobody_and_its_route_is_known(folder):
    for entry in (answered(2, (1,)), answered(3, (2, 3), back=(1,)), answered(4, (2, 3), route="retraining")):
        ledger = answer(folder, entry)
        if entry.version.number == 3:
            assert (ledger.current.number, ledger.waiting) == (2, [2, 3])
            assert list(ledger.refused_routes([2, 3])) == ["rewind"]
            assert list(ledger.refused_routes([2, 3, 4])) == ["rewind"]  # one more was asked for
            assert not ledger.refused_routes([2])
    assert (ledger.current.number, ledger.waiting) == (4, [])
    assert [ledger.held_by(f"w{number}") for number in (1, 2, 3, 4)] == [[1, 2, 3], [2, 3], [1], []]


def test_the_same_weights_may_answer_twice(folder):
    """A fold that never saw any of them."""
    answer(folder, answered(2, (1,), weights="w"))
    ledger = answer(folder, answered(3, (2,), weights="w"))
    assert (ledger.version_with("w").number, ledger.held_by("w"), ledger.held_by("w1")) == (3, [], [1, 2])


def edited(all_lines):
    all_lines[1] = all_lines[1].replace("2026-01-31", "2027-01-31")


def without_a_middle_line(all_lines):
    del all_lines[2]


def with_a_line_twice(all_lines):
    all_lines.append(all_lines[-1])


def not_json(all_lines):
    all_lines[2] = "{\n"


def not_an_entry(all_lines):
    all_lines[2] = json.dumps({**json.loads(all_lines[2]), "kind": "gift"}) + "\n"


def of_another_shape(all_lines):
    told = json.loads(all_lines[2])
    all_lines[2] = json.dumps({**told, "content": {**told["content"], "number": "2"}}) + "\n"


def at_no_time(all_lines):
    all_lines[2] = json.dumps({**json.loads(all_lines[2]), "time": "noon"}) + "\n"


def shorter(all_lines):
    del all_lines[-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (edited, "line 3 of .* does not follow line 2, which was edited after it was written"),
        (without_a_middle_line, "line 3 of .* is entry 4: the ledger was cut, or its lines were put in another order"),
        (with_a_line_twice, "line 5 of .* follows the same entry as line 4: the ledger was forked"),
        (not_json, r"line 3 of .* is not an entry \(Expecting"),
        (not_an_entry, "line 3 of .*its kind is 'gift', which is not one of version, request, start, answer"),
        (of_another_shape, r"line 3 of .*its content, number holds text \('2'\) instead of a whole number"),
        (at_no_time, "line 3 of .*its time is 'noon'"),
        (shorter, "has 3 entries, and had 4: it was cut, or an older copy was put back"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_was_changed_is_refused_with_its_line_and_nothing_is_lost(folder, change, said):
    changed = lines(folder)
    change(changed)
    rewrite(folder, changed)
    before = (folder / LEDGER_JSONL).read_bytes()
    for use in (read_ledger, lambda place: append(place, asked)):
        with pytest.raises(InputError, match=f"{said}.*; put the ledger's folder back as it was"):
            use(folder)
    assert (folder / LEDGER_JSONL).read_bytes() == before


def test_two_continuations_of_one_ledger_are_told_apart(folder, tmp_path):
    """Both are whole chains, and only one of them is that of its head."""
    other = shutil.copytree(folder, tmp_path / "other")
    append(folder, asked)
    append(other, lambda ledger: begun(2, (1,)))
    rewrite(folder, lines(other))
    with pytest.raises(InputError, match="has another entry 5 than was written: it was forked"):
        read_ledger(folder)
    (folder / HEAD_JSON).unlink()
    with pytest.raises(
        InputError, match=f"has 5 entries, and {HEAD_JSON}, which tells how many there were, is missing"
    ):
        read_ledger(folder)


def test_a_torn_line_does_not_count_and_is_replaced(folder, caplog):
    whole = (folder / LEDGER_JSONL).read_bytes()
    append(folder, asked)
    torn = (folder / LEDGER_JSONL).read_bytes()[:-20]
    head = json.dumps({"entries": 4, "sha256": read_ledger(folder).digests[3]})
    (folder / LEDGER_JSONL).write_bytes(torn)
    with pytest.raises(InputError, match="has 4 entries, and had 5: it was cut"):  # its end was told to somebody
        read_ledger(folder)
    (folder / HEAD_JSON).write_text(head)
    caplog.set_level("INFO")
    assert list(read_ledger(folder).requests) == [1, 2, 3]
    assert "was not written to its end" in caplog.text
    append(folder, asked)
    assert (folder / LEDGER_JSONL).read_bytes().startswith(whole)
    assert list(read_ledger(folder).requests) == [1, 2, 3, 4]


def test_a_first_line_that_was_torn_is_not_a_ledger(tmp_path):
    (tmp_path / LEDGER_JSONL).write_text('{"entry"')
    assert not is_ledger(tmp_path)
    with pytest.raises(InputError, match=r"holds no ledger\.jsonl; begin one with its first request"):
        read_ledger(tmp_path)
    append(tmp_path, lambda ledger: FIRST)
    assert read_ledger(tmp_path).first == FIRST


def test_an_entry_that_cannot_be_made_changes_nothing(folder):
    before = (folder / LEDGER_JSONL).read_bytes()

    def refused(ledger):
        raise InputError("nobody is waiting")

    with pytest.raises(InputError, match="nobody is waiting"):
        append(folder, refused)
    assert (folder / LEDGER_JSONL).read_bytes() == before


SOON = Request(number=4, received="2026-01-01", deadline="soon", patients=("p",), cases=("c",))
LATE = replace(SOON, received="2026-02-01", deadline="2026-01-31")


@pytest.mark.parametrize(
    ("before", "entry", "said"),
    [
        ([], replace(FIRST, number=2), "is a second first version"),
        ([], SOON, "its deadline is 'soon', which is not a day"),
        ([], LATE, "was received on 2026-02-01, after its deadline, 2026-01-31"),
        ([], replace(LATE, number=3), "is request 3, and the next one is 4"),
        ([], begun(1, (1,)), "begins version 1, and the next one is 2"),
        ([], begun(2, ()), "names no request"),
        ([], begun(2, (4,)), "is for request 4, which the lines above do not have"),
        ([], answered(2, (1,)), "answers with version 2, and none was begun"),
        ([begun(2, (1,))], answered(1, (1,)), "answers with version 1, and version 2 was begun"),
        (
            [begun(2, (1,))],
            answered(2, (1, 2)),
            "answers request 1, 2 by rewind, and version 2 was begun for request 1 by rewind",
        ),
        ([begun(2, (1,))], answered(2, (1,), back=(2,)), "audits request 2, which no version had answered"),
        ([begun(2, (1,)), answered(2, (1,))], begun(3, (1, 2)), "is for request 1, which was answered already"),
        ([begun(2, (1,)), answered(2, (1,))], answered(2, (1,)), "answers with version 2, and none was begun"),
    ],
)
def test_what_cannot_have_happened_is_neither_written_nor_read(folder, monkeypatch, before, entry, said):
    for each in before:
        append(folder, lambda ledger, each=each: each)
    line = len(read_ledger(folder).entries) + 1
    with pytest.raises(InputError, match=f"nothing was written to .*: line {line} {said}"):
        append(folder, lambda ledger: entry)
    assert len(read_ledger(folder).entries) == line - 1
    with monkeypatch.context() as patch:
        patch.setattr("mu_monai.record.ledger.impossible", lambda entries, times: ())
        append(folder, lambda ledger: entry)
    with pytest.raises(InputError, match=f"': line {line} {said}; put the ledger's folder back as it was"):
        read_ledger(folder)


def test_a_ledger_begins_with_its_first_version(tmp_path, monkeypatch):
    for entry in (asked(Ledger(tmp_path)), begun(2, (1,))):
        with pytest.raises(InputError, match="line 1 is not the first version, with which a ledger begins"):
            append(tmp_path, lambda ledger, entry=entry: entry)
    with pytest.raises(InputError, match="line 1 is version 2, and a ledger begins with version 1"):
        append(tmp_path, lambda ledger: replace(FIRST, number=2))
    assert not is_ledger(tmp_path)


def test_times_have_a_zone_and_never_go_back():
    first, second = "2026-01-31T09:00:00+00:00", "2026-01-31T09:30:00+01:00"  # half an hour before
    entries = [FIRST, asked(Ledger(Path()))]
    assert list(impossible(entries, [second, first])) == []
    (said,) = impossible(entries, [first, second])
    assert said == f"line 2 was written at {second}, before the line above it, {first}"
    (said,) = impossible(entries, ["2026-01-31T09:00:00", second])
    assert said == "line 1 was written at 2026-01-31T09:00:00, without a time zone"


def test_a_clock_that_was_set_back_does_not_spoil_the_ledger(folder, monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, zone):
            return datetime(2020, 1, 1, tzinfo=zone)

    before = read_ledger(folder).times[-1]
    monkeypatch.setattr("mu_monai.record.ledger.datetime", Clock)
    append(folder, asked)
    assert read_ledger(folder).times[-1] == before


KILLED = """
import os, random, signal, sys, time
from mu_monai.record.entries import Request
from mu_monai.record.ledger import append, read_ledger

folder, told, random_time = sys.argv[1], [], random.Random(0)

def asked(ledger):
    number = len(ledger.requests) + 1
    return Request(number=number, received="2026-01-01", deadline="2026-01-31", patients=(str(number),), cases=())

for _ in range(50):
    heard, say = os.pipe()
    child = os.fork()
    if child == 0:
        while True:
            os.write(say, f"{max(append(folder, asked).requests)}\\n".encode())
    os.close(say)
    first = os.read(heard, 1000)
    time.sleep(random_time.uniform(0.0, 0.04))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(heard, "rb") as stream:
        told += [int(line) for line in (first + stream.read()).splitlines(keepends=True) if line.endswith(b"\\n")]
    numbers = list(read_ledger(folder).requests)
    assert numbers == list(range(1, len(numbers) + 1)), numbers
    assert set(told) <= set(numbers)
assert "torch" not in sys.modules
print(len(told), len(numbers))
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_fifty_kills_lose_and_double_nothing(folder):
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told, entered = map(int, done.stdout.split())
    assert told >= 50
    assert told <= entered <= told + 3 + 50  # what was on the disk before anybody was told


def test_two_processes_wait_for_each_other(folder):
    code = KILLED.partition("for _ in range(50)")[0] + "for _ in range(20): append(folder, asked)"
    both = [subprocess.Popen([sys.executable, "-c", code, str(folder)]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert list(read_ledger(folder).requests) == list(range(1, 44))
