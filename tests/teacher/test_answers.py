"""What a server's answer says besides its text: how long to wait, and in what words it refuses."""

import time
from email.utils import formatdate
from types import SimpleNamespace

import pytest

from mqg_utils.teacher.responses import refused_setting, retry_after, words_of


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_the_pause_that_is_asked_for(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(SimpleNamespace(headers=headers)) == seconds


def test_a_pause_may_end_at_a_date() -> None:
    found = retry_after(SimpleNamespace(headers={"retry-after": formatdate(time.time() + 3600, usegmt=True)}))
    assert found is not None and 3000 < found <= 3600
    assert retry_after(SimpleNamespace(headers={"retry-after": formatdate(0, usegmt=True)})) == 0.0


def test_the_servers_words_are_told_where_the_package_leaves_them_out() -> None:
    assert words_of("Error code: 400", '{"detail": "pinned"}') == 'Error code: 400 - {"detail": "pinned"}'
    assert words_of("Error code: 400 - too long", '{"error": {"message": "too long"}}') == "Error code: 400 - too long"
    assert words_of("Error code: 502", "") == "Error code: 502"


def test_a_setting_is_refused_by_a_400_that_names_it() -> None:
    assert refused_setting(400, {"param": "max_tokens"}) == "max_tokens"
    assert [refused_setting(500, {"param": "max_tokens"}), refused_setting(400, {"param": "model"})] == ["", ""]
    assert refused_setting(400, "max_tokens") == refused_setting(400, {"param": None}) == ""
