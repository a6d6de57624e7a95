"""What is printed cannot steer a terminal, whatever names it holds, and a closed pipe is not an error."""

import logging
import os
import signal
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_monai.cli.screen import LogFormatter, show
from mu_monai.errors import InputError
from mu_monai.printable import printable
from mu_monai.workflow.handover.verifying import Check

STEERING = [
    *(
        "\x1b[2K",
        "\x1b]0;title\x07",
        "\r",
        "\x9b31m",
        "\x08",
        "\x00",
        "\x7f",
        "\x85",
        "\u202e",
        "\u2066",
        "\u200b",
        "\ufeff",
    ),
    *("\u2028", "\u2029", "\udcff", "\ud800", "\U000e0041", "\xad"),
]


@pytest.mark.parametrize("text", STEERING)
def test_what_a_terminal_obeys_is_escaped(text, capsys):
    show(f"FAILED {text} files")
    out = capsys.readouterr().out
    assert out.isprintable() or out[:-1].isprintable()
    assert out.startswith("FAILED \\")
    assert out.count("\n") == 1


def test_names_stay_on_their_line_and_tables_have_theirs(capsys):
    show("a\nb\tc")
    show("a\nb\tc", lines=True, err=True)
    assert tuple(capsys.readouterr()) == ("a\\nb\tc\n", "a\nb\tc\n")


@given(st.text())
def test_any_text_is_shown_in_any_encoding(text):
    for encoding in ("utf-8", "ascii", "latin-1"):
        shown = printable(text, encoding)
        shown.encode(encoding)
        categories = {unicodedata.category(character) for character in shown if character not in "\n\t"}
        assert categories & {"Cc", "Cf", "Cs", "Zl", "Zp"} == set()


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_ordinary_text_is_shown_as_it_is(text):
    assert printable(text) == text


def test_a_problem_and_a_check_stay_on_their_line():
    assert str(InputError("image 'a\nok  files' is missing")).count("\n") == 0
    assert str(InputError(["a\nb", "c"])).count("\n") == 2
    assert "\n" not in str(Check("files", "FAILED", "a\nok       files: all"))


def test_a_log_message_is_one_line_and_a_traceback_several():
    record = logging.LogRecord("mu_monai", logging.WARNING, "", 1, "'%s' is odd", ("a\nb\x1b[2K\udcff",), None)
    assert LogFormatter("%(levelname)s %(message)s").format(record) == "WARNING 'a\\nb\\x1b[2K\\udcff' is odd"
    try:
        raise ZeroDivisionError("\x1b[2K")
    except ZeroDivisionError:
        record.exc_info = sys.exc_info()
    told = LogFormatter("%(message)s").format(record)
    assert len(told.splitlines()) > 2
    assert "\x1b" not in told


HOSTILE = "a\x1b[2K\rok  files\u202e\n.png"


@pytest.mark.parametrize(
    "arguments",
    [
        ["split", HOSTILE],
        ["report", HOSTILE, "--out", "x"],
        ["evaluate", HOSTILE],
        ["audit", HOSTILE],
        ["verify", HOSTILE, "--public-key", HOSTILE],
        ["predict", HOSTILE, HOSTILE],
        ["release", HOSTILE, "--out", HOSTILE],
        ["merge", HOSTILE, "--out", HOSTILE],
        ["train", HOSTILE, "--out", HOSTILE],
        ["train", "isic", "--split", HOSTILE, "--out", HOSTILE],
        ["unlearn", "isic", "--teacher", HOSTILE, "--out", HOSTILE],
        ["compose", HOSTILE, HOSTILE, "--out", HOSTILE],
        ["compare", HOSTILE, "--split", HOSTILE, "--teacher", HOSTILE, "--out", HOSTILE],
        ["split", "x", "--seed", HOSTILE],
        ["split", "x", HOSTILE],
        [f"--{HOSTILE}"],
        [HOSTILE],
    ],
)
def test_no_command_repaints_the_screen(mu_monai, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, out, err = mu_monai(*arguments)
    assert code == 2
    for text in (out, err):
        assert not {"\x1b", "\r", "\u202e"} & set(text)
        assert not any(line.startswith(".png") for line in text.splitlines())


def command(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "mu_monai", *arguments], text=True, stderr=subprocess.PIPE, **options
    )


@pytest.mark.parametrize("arguments", [["methods"], ["--help"], ["split", "--help"], ["--version"]])
def test_a_closed_pipe_ends_quietly(arguments):
    read, write = os.pipe()
    process = command(*arguments, stdout=write)
    os.close(write)
    os.close(read)  # nobody reads any of it
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode in (0, 128 + signal.SIGPIPE, -signal.SIGPIPE)


def test_who_reads_one_line_gets_it():
    process = command("methods", stdout=subprocess.PIPE)
    assert process.stdout.readline() == "erase-to-retain\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "latin-1:strict"])
def test_characters_that_the_terminal_does_not_have_are_escaped(tmp_path, encoding):
    environment = {
        **os.environ,
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": encoding,
    }
    name = os.fsencode(tmp_path) + b"/caf\xc3\xa9-\xff-\xe2\x88\x9e.csv"
    with open(name, "w") as stream:
        stream.write("a,b\n1,2\n")
    process = command("split", name, env=environment, stdout=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Traceback" not in out + err
    assert "Logging error" not in out + err
    assert err.splitlines()[-1].startswith("error: ")
