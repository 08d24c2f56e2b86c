"""Pages that are one file."""

from __future__ import annotations

import base64

from lib.training.html import document, picture, section, table, tag

HOSTILE = "<script>alert('x')</script> & \"y\""


def test_no_text_becomes_a_tag() -> None:
    parts = [
        tag("h1", HOSTILE),
        section(HOSTILE, table((HOSTILE,), [(HOSTILE,)])),
        picture(HOSTILE, b"png", HOSTILE),
    ]
    page = document(HOSTILE, parts)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 7


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = document("t", [picture("p", b"\x89PNG")])
    assert "default-src 'none'" in page
    assert "://" not in page
    assert base64.b64encode(b"\x89PNG").decode() in page


def test_columns_of_numbers_are_set_flush_right() -> None:
    text = table(("name", "n", "interval"), [("a", "3", "+0.1 to 0.2"), ("b", "4", "-0.1")])
    assert text.count('<td class="n">') == 4
    assert '<th>name</th><th class="n">n</th>' in text
    assert table((), [("a", "1")]).count('class="n"') == 0


def test_a_caption_is_left_out_where_there_is_none() -> None:
    assert "figcaption" not in picture("p", b"")
    assert "<figcaption>c</figcaption>" in picture("p", b"", "c")
