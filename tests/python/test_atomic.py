"""Files that Python writes are whole, old or new; tests/cpp/base/atomic_file_test.cc has the same for the core."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spectralkv import _core
from spectralkv.atomic import destination, part_folder, whole_file, write_whole
from spectralkv.cli import main
from spectralkv.evaluate.store import ResultFile, read_results

LEFT = ".tmp-0123456789abcdef"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_only_a_block_that_ends_well_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_whole(path, b"old")

    def interrupted() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            assert path.read_bytes() == b"old" and len(names(tmp_path)) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a"]
    write_whole(path, b"new")
    assert path.read_bytes() == b"new" and names(tmp_path) == ["a"]


@contextlib.contextmanager
def small_files(size: int) -> Iterator[None]:
    """As a full disk: no file grows beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_errors_of_the_disk_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_whole(path, b"old")
    with small_files(10), pytest.raises(OSError, match="too large.*'.*/a'"):
        write_whole(path, bytes(1000))
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a"]


def test_errors_of_the_disk_leave_the_records_that_were_taken(tmp_path: Path) -> None:
    path = tmp_path / "results"

    def fill() -> None:
        with small_files(30), ResultFile(path, {"seed": 1}) as file:
            file.add({"key": "1"})
            file.add({"key": "x" * 1000})

    with pytest.raises(OSError, match="too large.*'.*/results'"):
        fill()
    assert read_results(path)[1] == [{"key": "1"}]
    with ResultFile(path, {"seed": 1}) as file:
        file.add({"key": "0"})
        with small_files(30), pytest.raises(OSError, match="too large.*'.*/results'"):
            file.arrange()
        file.add({"key": "2"})
    assert [record["key"] for record in read_results(path)[1]] == ["1", "0", "2"]
    assert names(tmp_path) == ["results"]


def test_the_mode_stays(tmp_path: Path) -> None:
    path, mask = tmp_path / "a", os.umask(0o022)
    write_whole(path, b"new")
    os.umask(mask)
    assert mode(path) == 0o644
    for wanted in (0o600, 0o640, 0o666):
        path.chmod(wanted)
        write_whole(path, b"newer")
        assert mode(path) == wanted


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-pipe").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    before = names(tmp_path)
    for name, words in (
        ("pipe", "no regular file"),
        ("to-pipe", "no regular file"),
        ("folder", "Is a directory"),
        ("loop", "symbolic links"),
        ("none/a", "No such file"),
    ):
        with pytest.raises(OSError, match=words):
            write_whole(tmp_path / name, b"new")
    assert names(tmp_path) == before and (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"old")
    (tmp_path / "a").chmod(0o400)
    with pytest.raises(PermissionError):
        write_whole(tmp_path / "a", b"new")


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there/a")
    (tmp_path / "second").symlink_to(tmp_path / "link")
    assert destination(tmp_path / "second") == tmp_path / "there" / "a"
    for data in (b"first", b"then"):
        write_whole(tmp_path / "second", data)
        assert (tmp_path / "there" / "a").read_bytes() == data
    assert (tmp_path / "link").is_symlink() and (tmp_path / "second").is_symlink()
    assert names(tmp_path / "there") == ["a"]


def test_many_writers_leave_a_whole_file(tmp_path: Path) -> None:
    path, wrong = tmp_path / "a", []

    def write(letter: int) -> None:
        for _ in range(30):
            with whole_file(path) as file:
                file.write(bytes([letter]) * 20000)
                file.write(bytes([letter]) * 20000)
            found = path.read_bytes()
            if found != found[:1] * 40000:
                wrong.append(letter)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in b"abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and names(tmp_path) == ["a"]


def test_what_killed_writers_left_goes(tmp_path: Path) -> None:
    (tmp_path / f"a{LEFT}").write_text("half")
    (tmp_path / f"b{LEFT}").write_text("of another file")
    (tmp_path / "a.tmp-12").write_text("only looks so")
    with whole_file(tmp_path / "a"), part_folder(tmp_path / "a") as part:
        (part / "half").write_text("half")
        write_whole(tmp_path / "a", b"new")  # leaves those at work alone
        assert len(names(tmp_path)) == 5 and names(part) == ["half"]
    assert names(tmp_path) == ["a", "a.tmp-12", f"b{LEFT}"]
    (tmp_path / f"a{LEFT}").mkdir()
    (tmp_path / f"a{LEFT}" / "half").write_text("half")
    write_whole(tmp_path / "a", b"new")
    assert names(tmp_path) == ["a", "a.tmp-12", f"b{LEFT}"]


def test_long_names(tmp_path: Path) -> None:
    name = "é" * 127
    write_whole(tmp_path / name, b"new")
    assert names(tmp_path) == [name]


def test_what_the_core_writes(make_tiny: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """States and logits hold a text; calibrations do not. None of them replaces a pipe."""
    tiny_model, text, mask = make_tiny(context_length=1024), tmp_path / "text", os.umask(0)
    text.write_text("the hello in there " * 60)
    session = _core.Session(_core.Engine(tiny_model, n_threads=1), n_ctx=64)
    session.eval([3, 4, 5])
    perplexity = ["perplexity", "-m", tiny_model, "-f", str(text), "-c", "64", "--chunks", "1"]
    chat = ["run", "-m", tiny_model, "-p", "hello", "-n", "1", "-c", "128"]

    def write_all(folder: Path) -> None:
        session.save_state(folder / "state")
        assert main([*perplexity, "--kl-divergence-base", str(folder / "base")]) == 0
        assert main([*chat, "--prompt-cache", str(folder / "prompt")]) == 0
        assert main(["calibrate", "-m", tiny_model, "-o", str(folder / "calibration")]) == 0

    places = tmp_path / "out"
    places.mkdir()
    try:
        write_all(places)
    finally:
        os.umask(mask)
    assert {name: mode(places / name) for name in names(places)} == {
        "base": 0o600,
        "calibration": 0o666,
        "prompt": 0o600,
        "state": 0o600,
    }
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="no regular file"):
        session.save_state(pipe)
    for words in (
        [*perplexity, "--kl-divergence-base", str(pipe)],
        [*chat, "--prompt-cache", str(pipe)],
        ["calibrate", "-m", tiny_model, "-o", str(pipe)],
    ):
        capfd.readouterr()
        assert main(words) == 1
        assert "no regular file" in capfd.readouterr().err
    assert pipe.is_fifo()
