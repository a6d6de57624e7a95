"""Names that people take for the same have one likeness, and others do not."""

import pytest

from mu_monai.tables import forms, likeness, nearly_equal

CAFE = ("Jos\u00e9", "Jose\u0301")  # one letter, or a letter and an accent


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("007", "7"),
        ("AB-1", "ab-1"),
        ("J  Doe", "J Doe"),
        ("p\u00a01", "p 1"),
        ("p\u200b1", "p1"),
        ("P-001", "p-1"),
        ("Ｐ１", "p1"),  # noqa: RUF001
        ("STRASSE", "Straße"),
        CAFE,
    ],
)
def test_what_people_take_for_the_same(one, other):
    assert likeness(one) == likeness(other)
    assert nearly_equal([other, one, "another"]) == [tuple(sorted((one, other)))]


@pytest.mark.parametrize(("one", "other"), [("p1", "p10"), ("0.05", "0.5"), ("a-1", "a1"), ("100", "1"), ("é", "e")])
def test_what_people_tell_apart(one, other):
    assert nearly_equal([one, other]) == []


@pytest.mark.parametrize(
    ("names", "shown"),
    [(("7", "007"), "'7' and '007'"), (CAFE, r"'Jos\xe9' and 'Jose\u0301'"), (("a\u200b", "a"), r"'a\u200b' and 'a'")],
)
def test_both_forms_are_shown_so_that_they_differ(names, shown):
    assert forms(names) == shown
