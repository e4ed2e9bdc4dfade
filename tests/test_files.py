import os

import pytest

from mlp import InputError
from mlp.files import replacing, writable_folder


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_is_interrupted_is_not_half_written(tmp_path, failure):
    path = tmp_path / "results.csv"
    path.write_text("old")
    with pytest.raises((InputError, KeyboardInterrupt)), replacing(path) as temporary:
        temporary.write_text("half")
        raise failure
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_who_write_one_file_do_not_meet(tmp_path):
    """Not even where both have one process id, as in two containers that share a volume."""
    path = tmp_path / "results.csv"
    with replacing(path) as slow, open(slow, "w") as file:
        file.write("half")
        file.flush()
        with replacing(path) as quick:
            quick.write_text("whole")
        file.write(" and the rest")
        file.flush()
        assert path.read_text() == "whole"
    assert path.read_text() == "half and the rest"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_has_the_permissions_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "figure.png") as temporary:
            assert temporary.suffix == ".png"
            temporary.write_bytes(b"")
    finally:
        os.umask(before)
    assert (tmp_path / "figure.png").stat().st_mode & 0o777 == 0o640


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose another"):
        writable_folder(tmp_path / "file" / "figures")
    assert writable_folder(tmp_path / "a" / "b").is_dir()
