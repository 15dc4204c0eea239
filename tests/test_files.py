"""Files are whole or absent."""

import pytest

from distill.files import write_text


def test_a_text_is_written_whole_or_stays_as_it_was(tmp_path):
    write_text(path := tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]
