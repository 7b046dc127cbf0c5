"""The words are those that the real kernel and executors said."""

import pytest
from protocols.kuwa_transcripts import exchange

from trunkcall.protocols import kuwa_words as words


@pytest.mark.parametrize(
    ("file", "about", "word"),
    [
        ("kernel", "register", words.SUCCESS),
        ("kernel", "register again", words.FAILED),
        ("kernel", "schedule", words.READY),
        ("kernel", "schedule again", words.BUSY),
        ("kernel", "schedule unknown", words.NOMACHINE),
        ("executor", "empty", words.EMPTY_REQUEST),
        ("executor", "bad JSON in input", words.ERROR_OCCURRED),
        ("executor", "abort", words.ABORTED),
        ("executor_010", "abort", words.ABORTED),
    ],
)
def test_as_recorded(file, about, word):
    assert exchange(file, about).answer == word
