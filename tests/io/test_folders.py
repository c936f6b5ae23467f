"""Atomic writing of folders and files, and locks on folders."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from elektron.errors import ElektronError
from elektron.io import files, folders
from elektron.io.files import atomic_write, refuse_foreign
from elektron.io.folders import atomic_folder, final_path, folder_lock, is_free


def test_folder_is_published_on_exit(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with atomic_folder(out) as folder:
        (folder / "file").write_text("text")
        assert not out.exists()
    assert (out / "file").read_text() == "text"
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert out.stat().st_mode & 0o077 == out.parent.stat().st_mode & 0o077


def test_files_get_umask_modes_without_changing_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as changes, atomic_folder(tmp_path / "out") as folder:
            changes.delattr(os, "umask")
            (folder / "inner").mkdir()
            for name in ("file", "inner/file"):
                (folder / name).touch(mode=0o600)
    finally:
        os.umask(before)
    found = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "out").rglob("*")}
    inner = tmp_path / "out" / "inner"
    assert found == {inner: 0o750, inner / "file": 0o640, tmp_path / "out" / "file": 0o640}


def test_chmod_permission_error_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "file").touch()
    assert (tmp_path / "out/file").exists()


def test_nonempty_current_folder_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ElektronError, match="exists and is not empty"), atomic_folder(Path()):
        pass


def test_files_and_parent_folders_are_fsynced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fsync, a power loss may leave an empty file or no file at all."""
    synced: list[tuple[str, set[str]]] = []

    def look(path: Path) -> None:
        synced.append((path.name, {inner.name for inner in tmp_path.iterdir()}))

    for module in (files, folders):
        monkeypatch.setattr(module, "fsync", look)
    atomic_write(tmp_path / "file", "text")
    assert synced == [(".file.partial", {".file.partial"}), (tmp_path.name, {"file"})]
    synced.clear()
    out, published = tmp_path / "new" / "newer" / "out", {}
    with atomic_folder(out) as folder:
        assert sorted(name for name, _ in synced) == sorted(["new", tmp_path.name]), "where their names are kept"
        (folder / "inner").mkdir()
        (folder / "inner" / "file").touch()
        monkeypatch.setattr(folders, "fsync", lambda path: published.update({path.name: out.exists()}))
    # All files and folders are synced before the folder gets its name, and its parent after that.
    before = dict.fromkeys([folder.name, "inner", "file"], False)
    assert published == before | {".lock": False, "newer": True}


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_after_exception(tmp_path: Path, failure: type[BaseException]) -> None:
    with pytest.raises(failure), atomic_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("text")
        raise failure
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("inside", [True, False])
def test_finished_result_that_cannot_be_moved_is_kept(tmp_path: Path, inside: bool) -> None:
    out = tmp_path / "out"
    if inside:
        out.mkdir()
    with (
        pytest.raises(ElektronError, match=r"out cannot be written.*the finished") as error,
        atomic_folder(out) as folder,
    ):
        (folder / "result").write_text("text")
        out.mkdir(exist_ok=True)
        (out / "precious").write_text("text")
    stays = Path(str(error.value).rpartition(" is in ")[2])
    assert (stays / "result").read_text() == "text"
    assert stays.name == (".partial" if inside else "out.finished")
    assert (out / "precious").read_text() == "text"
    assert not (out / "result").exists()
    with pytest.raises(ElektronError, match="exists and is not empty"), atomic_folder(out):
        pass
    assert (stays / "result").exists(), "no later command removes it"


def test_symlink_is_kept(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, target in (("link", "empty"), ("dangling", "not/there")):
        (link := tmp_path / name).symlink_to(target)
        with atomic_folder(link) as folder:
            (folder / "file").touch()
        assert link.is_symlink() and (tmp_path / target / "file").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "link", "dangling", "not"}


def test_current_folder_keeps_its_inode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    (tmp_path / "lost+found").mkdir()
    with atomic_folder(Path()) as folder:
        assert final_path(folder) == Path()
        (folder / "inner").mkdir()
        (folder / "inner" / "file").touch()
    assert tmp_path.stat().st_ino == before
    assert {path.name for path in Path().iterdir()} == {"inner", "lost+found"}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may mount")
def test_an_empty_mount_point_is_filled(tmp_path: Path) -> None:
    (out := tmp_path / "out").mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "none", out], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        with atomic_folder(out) as folder:
            (folder / "file").write_text("text")
        assert [path.name for path in out.iterdir()] == ["file"]
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
    finally:
        subprocess.run(["umount", out], check=True)


@pytest.mark.parametrize("there", [True, False])
def test_leftovers_of_killed_process_are_removed(tmp_path: Path, there: bool) -> None:
    out = tmp_path / "out"
    if there:
        out.mkdir()
    program = (
        "import os, sys; from pathlib import Path; from elektron.io.folders import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').touch(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, out], check=False)
    assert list(tmp_path.rglob("half"))
    assert is_free(out)
    with atomic_folder(out) as folder:
        (folder / "whole").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "whole"]


def test_second_writer_of_same_folder_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "LOCK_TIMEOUT_SECONDS", 0.2)
    out = tmp_path / "out"
    with atomic_folder(out) as folder:
        (folder / "file").touch()
        with pytest.raises(ElektronError, match=r"another process is writing .*out"), atomic_folder(out):
            pass
    assert (out / "file").exists()


def test_kept_subfolder_survives_failure_until_next_call(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), atomic_folder(out, kept="work") as folder:
        (folder / "work").mkdir()
        (folder / "work" / "done").touch()
        (folder / "half").touch()
        raise KeyboardInterrupt
    assert is_free(out)
    with atomic_folder(out, kept="work") as folder:
        assert {path.name for path in folder.iterdir()} == {".lock", "work"}
        assert (folder / "work" / "done").exists()
        (folder / "whole").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["out", "whole"]


def test_atomic_write_replaces_target_of_symlink(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    for text in ("first", "second"):
        atomic_write(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "file").read_text() == text
    assert {path.name for path in tmp_path.iterdir()} == {"link", "file"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_atomic_write_to_named_pipe_does_not_replace_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    atomic_write(tmp_path / "pipe", "text")
    assert os.read(reader, 100) == b"text"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_file_without_marker_raises(tmp_path: Path) -> None:
    path = tmp_path / "file"
    refuse_foreign(path, b"<mark>")
    for content in (b"", b"<html> <mark>"):
        path.write_bytes(content)
        refuse_foreign(path, b"<mark>")
    path.write_bytes(b"\xff thesis")
    with pytest.raises(ElektronError, match="file exists"):
        refuse_foreign(path, b"<mark>")


def test_unwritable_place_raises(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ElektronError, match="cannot be written"), atomic_folder(tmp_path / "file" / "out"):
        pass


@pytest.mark.parametrize("name", ["out", ".out", "a.partial-b"])
def test_final_path_of_partial_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with atomic_folder(Path(name)) as folder:
        assert folder != Path(name)
        assert final_path(folder) == Path(name)
    assert final_path(Path(name)) == Path(name)


HOLD = """
import sys, time
from pathlib import Path
from elektron.io.folders import folder_lock
with folder_lock(Path(sys.argv[1]), Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_folder_lock_waits_for_release(tmp_path: Path) -> None:
    held = threading.Event()

    def hold() -> None:
        with folder_lock(tmp_path, tmp_path):
            held.set()
            time.sleep(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    with folder_lock(tmp_path, tmp_path):
        pass
    thread.join()


def test_lock_of_killed_process_is_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "LOCK_TIMEOUT_SECONDS", 0.2)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(ElektronError, match="another process"), folder_lock(tmp_path, tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with folder_lock(tmp_path, tmp_path):
            pass
