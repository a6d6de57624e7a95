"""The traceback in a run folder is text that can be shown in a terminal, whatever names it holds."""

import pytest

from mu_monai.printable import printable_traceback
from mu_monai.runs.error_log import log_error

NAMES = ["a\nINFO done\rb", "a\x1b[2K\x1b]0;title\x07b", "a\u202eb\u2028c", "\udcffa\x00"]


@pytest.mark.parametrize("kind", [OSError, ValueError, RuntimeError])
@pytest.mark.parametrize("name", NAMES)
def test_names_neither_steer_nor_begin_a_line(tmp_path, monkeypatch, kind, name):
    monkeypatch.setattr("mu_monai.runs.error_log.is_run", lambda folder: True)
    with pytest.raises(RuntimeError) as raised:
        _fail(kind, name)
    text = log_error(tmp_path, raised.value).read_text(encoding="utf-8")
    assert text == f"{printable_traceback(raised.value)}\n"
    assert all(character.isprintable() or character == "\n" for character in text)
    assert [line for line in text.splitlines() if line.startswith(("INFO", "b"))] == []
    assert text.count("Traceback (most recent call last):") == 2
    assert f"{kind.__name__}: cannot read" in text


def _fail(kind, name):
    try:
        raise kind(f"cannot read {name}")
    except kind as error:
        raise RuntimeError(name) from error
