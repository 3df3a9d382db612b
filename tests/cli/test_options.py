"""Options of several verbs: `--columns` words become a mapping."""

import pytest

from flipkd.cli.options import mapping_of
from flipkd.errors import UsageError


def test_words_become_a_mapping_and_the_last_of_a_name_wins():
    assert mapping_of(["text1=title", "text2=a=b", "text1=name"]) == {"text1": "name", "text2": "a=b"}


def test_no_words_are_no_mapping():
    assert mapping_of(None) is None
    assert mapping_of([]) is None


@pytest.mark.parametrize("word", ["text1", "=title", "text1=", "="])
def test_a_word_that_is_no_assignment_is_refused(word):
    with pytest.raises(UsageError, match="write ours=theirs"):
        mapping_of([word])
