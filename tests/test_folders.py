"""A folder appears whole or not at all, and so does a file."""

from pathlib import Path

import pytest

from elektron import folders
from elektron.errors import ElektronError
from elektron.folders import is_free, name_to_be, new_folder, write_whole


def test_the_folder_appears_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with new_folder(out) as folder:
        (folder / "file").write_text("text")
        assert not out.exists()
    assert (out / "file").read_text() == "text"
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert out.stat().st_mode & 0o077 == out.parent.stat().st_mode & 0o077


def test_files_and_folders_are_on_the_disk_before_they_have_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a loss of power leaves a name with nothing behind it, or nothing at all."""
    synced: list[tuple[str, set[str]]] = []

    def look(path: Path) -> None:
        synced.append((path.name, {inner.name for inner in tmp_path.iterdir()}))

    monkeypatch.setattr(folders, "sync", look)
    write_whole(tmp_path / "file", "text")
    assert synced == [("file.partial", {"file.partial"}), (tmp_path.name, {"file"})]
    synced.clear()
    with new_folder(tmp_path / "new" / "newer" / "out"):
        made = [name for name, _ in synced]
    assert sorted(made) == sorted(["new", tmp_path.name]), "where their names are kept"
    assert synced[-1][0] == "newer"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_nothing_appears_after_a_failure(tmp_path: Path, failure: type[BaseException]) -> None:
    with pytest.raises(failure), new_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("text")
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert is_free(tmp_path / "out")
    with new_folder(tmp_path / "out") as folder:
        (folder / "file").touch()
    assert not is_free(tmp_path / "out")


def test_what_came_to_lie_there_meanwhile_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ElektronError, match="out cannot be written"), new_folder(out):
        out.mkdir()
        (out / "precious").write_text("text")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "precious"]


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ElektronError, match="cannot be written"),
        new_folder(tmp_path / "file" / "out"),
    ):
        pass


@pytest.mark.parametrize("name", ["out", ".out", "a.partial-b"])
def test_what_a_folder_is_going_to_be_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with new_folder(Path(name)) as folder:
        assert folder != Path(name)
        assert name_to_be(folder) == Path(name)
    assert name_to_be(Path(name)) == Path(name)
