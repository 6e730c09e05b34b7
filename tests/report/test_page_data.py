"""The chains of the page as data: what a question carries, and how little room a thousand take."""

import base64
import gzip
import json

from mqg_utils.report.page_data import packed


def test_what_is_packed_comes_back_and_means_nothing_to_html() -> None:
    data = {"x": "</script><b>& 診断"}
    block = packed(data)
    assert set(block) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
    assert json.loads(gzip.decompress(base64.b64decode(block))) == data
    assert packed(data) == block, "no time is in it"
