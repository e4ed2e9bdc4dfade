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


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose another"):
        writable_folder(tmp_path / "file" / "figures")
    assert writable_folder(tmp_path / "a" / "b").is_dir()
