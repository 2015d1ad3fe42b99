"""Files are written whole or not at all, and never over what is read: by `convert` and by `quantize`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.hf_checkpoint import edit_json, write_hf

from spectralkv.convert import ConvertOptions, convert
from spectralkv.output import OutputError
from spectralkv.quantize import QuantizeOptions, quantize

FORCE, Q_FORCE = ConvertOptions(outtype="f32", force=True, quiet=True), QuantizeOptions(force=True, quiet=True)
CODE = "import sys; from spectralkv.cli import main; sys.exit(main(sys.argv[1:]))"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_what_was_there(number: signal.Signals, status: int, tmp_path: Path) -> None:
    """While tensors are encoded: 25 million values in a type that is slow to find."""
    folder = write_hf(tmp_path / "hf", n_layers=6, n_embd=768, n_heads=12, n_kv_heads=4, n_ff=1024)
    [source] = convert(folder, tmp_path / "source.gguf", FORCE)
    (tmp_path / "out.gguf").write_text("old")
    before = names(tmp_path)
    command = [
        sys.executable,
        "-c",
        CODE,
        "quantize",
        "--force",
        str(source),
        str(tmp_path / "out.gguf"),
        "Q3_K_M",
        "1",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while names(tmp_path) == before:
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "Traceback" not in err
    assert (tmp_path / "out.gguf").read_text() == "old"
    assert names(tmp_path) == before


def test_what_is_read_is_not_replaced(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "hf")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other_name = tmp_path / "other"
    other_name.symlink_to(folder / "model.safetensors")
    for target in (*folder.iterdir(), other_name):
        with pytest.raises(OutputError, match=f"{target.name} is a file to read"):
            convert(folder, target, FORCE)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    parts = convert(folder, tmp_path / "m.gguf", ConvertOptions(outtype="f32", split_max_size=100_000, quiet=True))
    for target in parts:  # of a split file each
        with pytest.raises(OutputError, match=f"{target.name} is a file to read"):
            quantize(parts[0], target, "Q8_0", Q_FORCE)


def test_links(tmp_path: Path) -> None:
    """One that leads nowhere is there as well; what a link leads to is written, and keeps its mode."""
    folder, link, place = write_hf(tmp_path / "hf"), tmp_path / "link.gguf", tmp_path / "place.gguf"
    link.symlink_to(place)
    with pytest.raises(FileExistsError, match="link.gguf exists; --force"):
        convert(folder, link, ConvertOptions(quiet=True))
    convert(folder, link, FORCE)
    whole = place.read_bytes()
    assert whole.startswith(b"GGUF") and link.is_symlink()
    place.write_text("old")
    place.chmod(0o640)
    assert convert(folder, link, FORCE) == [link]
    assert place.read_bytes() == whole and link.is_symlink()
    assert place.stat().st_mode & 0o777 == 0o640
    shown = tmp_path / "shown"  # a checkpoint of links, as a cache of downloads has them
    shown.mkdir()
    for path in folder.iterdir():
        (shown / path.name).symlink_to(path)
    [again] = convert(shown, tmp_path / "again.gguf", ConvertOptions(outtype="f32", model_name="Hf", quiet=True))
    [first] = convert(folder, tmp_path / "first.gguf", ConvertOptions(outtype="f32", model_name="Hf", quiet=True))
    assert len(again.read_bytes()) == len(first.read_bytes())


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "hf")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    before = names(tmp_path)
    for target, words in (
        (tmp_path / "pipe", "pipe is no regular file"),
        (tmp_path / "none" / "m.gguf", "none/m.gguf could not be written: No such file"),
        (tmp_path / "file" / "m.gguf", "file/m.gguf could not be written: Not a directory"),
    ):
        with pytest.raises(OutputError, match=words):
            convert(folder, target, FORCE)
    assert names(tmp_path) == before
    assert (tmp_path / "pipe").is_fifo()


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"f\xff")
    try:
        place.mkdir()
    except OSError:
        pytest.skip("the file system takes no such names")
    [path] = convert(write_hf(place / "hf"), place / os.fsdecode(b"m\xff.gguf"), FORCE)
    [small] = quantize(path, place / os.fsdecode(b"q\xff.gguf"), "Q8_0", Q_FORCE)
    assert small.stat().st_size < path.stat().st_size


CARDS = {
    "no YAML": (b"---\na: [\n---\n", "the model card cannot be read (ParserError"),
    "no UTF-8": (b"---\nlicense: \xff\n---\n", "the model card cannot be read (UnicodeDecodeError"),
    "odd values": (b"---\nlicense: {a: 1}\n---\n", "the model card's license is {'a': 1}, which is left out"),
}


@pytest.mark.parametrize("name", CARDS)
def test_a_model_card_stops_nothing(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, note = CARDS[name]
    folder = write_hf(tmp_path / "hf")
    (folder / "README.md").write_bytes(text)
    edit_json(folder / "config.json", _name_or_path="../../somewhere")
    [path] = convert(folder, None, ConvertOptions(outtype="f32"))
    assert note in capsys.readouterr().err
    assert path.parent == folder
    with pytest.raises(ValueError, match="the model's name is"):
        convert(folder, None, ConvertOptions(model_name="a\0b", quiet=True))
