"""What is kept outlasts the server: saved slots, and the folder of kept sequences."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("starlette")
httpx = pytest.importorskip("httpx")

from support.serving import serving  # noqa: E402

TEXT = "the hello in there " * 40
CHAT = [{"role": "user", "content": TEXT}]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from support.tiny_model import write_tiny_model

    return str(write_tiny_model(tmp_path_factory.mktemp("slots") / "tiny.gguf", context_length=2048))


def ask(server, path, **body):
    return httpx.post(server.url + path, json=body, timeout=30)


def complete(server):
    answer = ask(server, "/v1/completions", prompt=TEXT, max_tokens=8, temperature=0).json()
    return answer["choices"][0]["text"], answer["timings"]["cache_n"]


def test_slots_are_saved_and_restored(model, tmp_path):
    with serving(model, slot_folder=str(tmp_path)) as server:
        assert ask(server, "/slots/save", filename="early", prompt=TEXT).status_code == 404
        text, cached = complete(server)
        assert cached == 0
        saved = ask(server, "/slots/save", filename="mine", prompt=TEXT).json()
        assert saved["n_saved"] > 32 and saved["n_written"] == (tmp_path / "mine.state").stat().st_size
        ask(server, "/v1/chat/completions", messages=CHAT, max_tokens=2)
        assert ask(server, "/slots/save", filename="chat", messages=CHAT).json()["n_saved"] > 32
        (tmp_path / "damaged.state").write_bytes((tmp_path / "mine.state").read_bytes()[:-5])
        (tmp_path / "empty.state").touch()
    with serving(model, slot_folder=str(tmp_path)) as server:
        restored = ask(server, "/slots/restore", filename="mine").json()
        assert restored["n_restored"] == saved["n_saved"] and restored["n_read"] == saved["n_written"]
        again, cached = complete(server)
        assert again == text and cached > 32
        for name in ("damaged", "empty"):
            refused = ask(server, "/slots/restore", filename=name)
            assert refused.status_code == 400 and str(tmp_path) not in refused.text and name in refused.text
        assert ask(server, "/slots/restore", filename="none").status_code == 404
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{name}.state" for name in ("chat", "damaged", "empty", "mine")
    ]


@pytest.mark.parametrize("name", ["../mine", "a/b", "/etc/passwd", ".hidden", "", "..", ".a", "a\0b", "x" * 101, "é"])
def test_names_are_no_paths(model, tmp_path, name):
    with serving(model, slot_folder=str(tmp_path)) as server:
        for route in ("save", "restore", "0?action=save", "0?action=restore"):
            assert ask(server, f"/slots/{route}", filename=name, prompt="a").status_code == 400


def test_without_a_folder_nothing_is_saved(model):
    with serving(model) as server:
        assert ask(server, "/slots/save", filename="a", prompt="a").status_code == 403
        assert ask(server, "/slots/restore", filename="a").status_code == 403
        for action in ("save", "restore", "erase"):
            assert ask(server, f"/slots/0?action={action}", filename="a").status_code == 403


def test_slots_by_number_as_llama_server_has_them(model, tmp_path):
    folder = {"slot_folder": str(tmp_path), "n_parallel": 2}
    prompt = {"prompt": TEXT, "n_predict": 8, "temperature": 0, "id_slot": 1}
    with serving(model, **folder) as server:
        assert ask(server, "/slots/1?action=save", filename="early.bin").status_code == 404
        first = ask(server, "/completion", **prompt).json()
        assert first["id_slot"] == 1 and first["timings"]["cache_n"] == 0
        saved = ask(server, "/slots/1?action=save", filename="mine.bin").json()
        assert set(saved) == {"id_slot", "filename", "n_saved", "n_written", "timings"}
        assert saved["id_slot"] == 1 and saved["filename"] == "mine.bin" and saved["timings"]["save_ms"] > 0
        assert 32 < saved["n_saved"] <= first["tokens_evaluated"] + 8
        assert saved["n_written"] == (tmp_path / "mine.bin.state").stat().st_size
    with serving(model, **folder) as server:
        restored = ask(server, "/slots/0?action=restore", filename="mine.bin").json()
        assert set(restored) == {"id_slot", "filename", "n_restored", "n_read", "timings"}
        assert restored["n_restored"] == saved["n_saved"] and restored["n_read"] == saved["n_written"]
        assert restored["timings"]["restore_ms"] > 0
        assert ask(server, "/slots/0?action=save", filename="again").json()["n_saved"] == saved["n_saved"]
        again = ask(server, "/completion", **prompt).json()
        assert again["content"] == first["content"] and again["timings"]["cache_n"] > 32
        assert ask(server, "/slots/0?action=erase").json() == {"id_slot": 0, "n_erased": saved["n_saved"]}
        assert ask(server, "/slots/0?action=erase").json()["n_erased"] == 0
        assert ask(server, "/slots/0?action=save", filename="none").status_code == 404
        for path in ("2?action=save", "-1?action=save", "9" * 5000 + "?action=erase", "0", "0?action=drop"):
            assert ask(server, f"/slots/{path}", filename="a").status_code == 400
        assert ask(server, "/slots/0?action=save").status_code == 400
        assert ask(server, "/slots/0?action=restore", filename="none").status_code == 404


def test_a_save_waits_for_what_runs(model, tmp_path):
    asked = {"prompt": TEXT, "n_predict": 500, "ignore_eos": True, "stream": True, "id_slot": 1}
    save = "/slots/1?action=save"
    with serving(model, slot_folder=str(tmp_path), n_parallel=2) as server, ThreadPoolExecutor() as pool:
        goes_on = threading.Event()  # until then no step is made
        held = pool.submit(asyncio.run, server.service.worker.call(lambda: goes_on.wait(30)))
        with httpx.stream("POST", server.url + "/completion", json=asked, timeout=60) as answer:
            with pytest.raises(httpx.ReadTimeout):  # who goes away before the end is forgotten
                httpx.post(server.url + save, json={"filename": "left"}, timeout=httpx.Timeout(30, read=0.1))
            late = pool.submit(ask, server, save, filename="late")
            time.sleep(0.3)
            goes_on.set()
            told = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")][-1]
        saved = late.result().json()
        assert held.result() and told["stop"] and told["tokens_predicted"] == 500
        assert saved["n_saved"] >= told["tokens_evaluated"] + 499  # the last one has not been read
        assert [path.name for path in tmp_path.iterdir()] == ["late.state"]


def test_a_call_whose_caller_has_gone_harms_nobody(model):
    async def ask_and_go(worker):
        for waited in (0, 0.001) * 20:
            left = asyncio.ensure_future(worker.call(lambda: None))
            await asyncio.sleep(waited)
            left.cancel()
        return await asyncio.wait_for(worker.call(lambda: "well"), 30)

    with serving(model) as server:
        assert asyncio.run(ask_and_go(server.service.worker)) == "well"
        assert complete(server)[0]


def test_what_is_kept_outlasts_the_server(model, tmp_path):
    with serving(model, kept_folder=str(tmp_path)) as server:
        text, _ = complete(server)
        assert server.idle()
        for _ in range(200):
            if server.service.worker.scheduler.stats()["kept_files"]:
                break
            httpx.get(server.url + "/health")
    with serving(model, kept_folder=str(tmp_path)) as server:
        again, cached = complete(server)
        assert again == text and cached > 32
