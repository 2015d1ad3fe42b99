"""What is kept outlasts the server: saved slots, and the folder of kept sequences."""

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
    with serving(model, slot_folder=str(tmp_path)) as server:
        restored = ask(server, "/slots/restore", filename="mine").json()
        assert restored["n_restored"] == saved["n_saved"] and restored["n_read"] == saved["n_written"]
        again, cached = complete(server)
        assert again == text and cached > 32
        refused = ask(server, "/slots/restore", filename="damaged")
        assert refused.status_code == 400 and str(tmp_path) not in refused.text
        assert ask(server, "/slots/restore", filename="none").status_code == 404
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chat.state", "damaged.state", "mine.state"]


@pytest.mark.parametrize("name", ["../mine", "a/b", "/etc/passwd", ".hidden", "", "a.state", "a\0b", "x" * 101, "é"])
def test_names_are_no_paths(model, tmp_path, name):
    with serving(model, slot_folder=str(tmp_path)) as server:
        for route in ("save", "restore"):
            assert ask(server, f"/slots/{route}", filename=name, prompt="a").status_code == 400


def test_without_a_folder_nothing_is_saved(model):
    with serving(model) as server:
        assert ask(server, "/slots/save", filename="a", prompt="a").status_code == 403
        assert ask(server, "/slots/restore", filename="a").status_code == 403


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
