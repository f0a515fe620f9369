"""A killed run goes on as if nothing had happened where ranks hold a share of the model each, also
on other ranks.
"""

import pytest

from tests.train.test_resume import check


@pytest.mark.parametrize("words", ["--ranks 2 --parallel fsdp", "--ranks 2 --parallel fsdp "
                                                                "--then-ranks 1"])
def test_losses_after_kills_are_the_same(words: str) -> None:
    done = check(words)
    assert done.returncode == 0, done.stdout + done.stderr
