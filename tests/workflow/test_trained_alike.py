"""Runs of many that are made once, resumed or kept."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from mu_monai.errors import InputError
from mu_monai.lock import writing
from mu_monai.workflow.trained_alike import complete


def test_what_another_command_has_just_begun_is_not_removed(tmp_path):
    """Two comparisons may share a cache; a run has no checkpoint before its first epoch has ended."""
    begun, made = tmp_path / "seed-0" / "config.json", []
    begun.parent.mkdir()
    begun.write_text("{}")
    with writing(begun.parent), ThreadPoolExecutor() as others:
        other = others.submit(complete, begun.parent, lambda *given: made.append(given))
        with pytest.raises(InputError, match=r"seed-0' is being written by another command"):
            other.result()
    assert begun.is_file()
    assert not made
    complete(begun.parent, lambda *given: made.append(given))  # it was killed in its first epoch
    assert made == [(begun.parent, False)]
    assert not begun.exists()
