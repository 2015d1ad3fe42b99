"""One Llama in several threads, and interrupts: calls wait for each other or raise, and never corrupt."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from spectralkv import Llama, _core

PROMPTS = ["hello the tin", "he is in", "on and on", "the end"]


@pytest.fixture(scope="module")
def llama(tiny_model):
    with Llama(tiny_model, n_ctx=128, n_threads=2, verbose=False) as model:
        yield model


def text(llama, prompt):
    return llama(prompt, temperature=0, max_tokens=30)["choices"][0]["text"]


def test_calls_from_threads_wait_for_each_other(llama):
    expected = [text(llama, prompt) for prompt in PROMPTS]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert list(pool.map(lambda prompt: text(llama, prompt), PROMPTS)) == expected


def test_a_stream_that_another_call_interrupts_raises(llama):
    stream = llama(PROMPTS[0], temperature=2.0, seed=1, max_tokens=60, stream=True)
    next(stream)
    expected = text(llama, PROMPTS[1])
    with pytest.raises(RuntimeError, match="another call"):
        list(stream)
    assert text(llama, PROMPTS[1]) == expected


@pytest.mark.parametrize("change", [lambda m: m.reset(), lambda m: m.eval([5]), lambda m: next(m.generate([5, 6]))])
def test_a_generation_ends_with_any_change(llama, change):
    steps = llama.generate([7, 8, 9], temp=0)
    next(steps)
    change(llama)
    with pytest.raises(RuntimeError, match="another call"):
        next(steps)


def test_streams_of_many_threads_raise_or_are_right(llama):
    expected = {prompt: text(llama, prompt) for prompt in PROMPTS}
    wrong = []

    def work(prompt):
        for _ in range(20):
            try:
                chunks = list(llama(prompt, temperature=0, max_tokens=30, stream=True))
            except RuntimeError:
                continue
            if "".join(chunk["choices"][0]["text"] for chunk in chunks) != expected[prompt]:
                wrong.append(prompt)

    threads = [threading.Thread(target=work, args=(prompt,)) for prompt in PROMPTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_sessions_of_one_engine_work_side_by_side(tiny_model):
    engine = _core.Engine(tiny_model, n_threads=2)
    tokens = [(11 * i) % 300 + 3 for i in range(100)]

    def logits(_):
        session = _core.Session(engine, n_ctx=128, n_batch=16)
        session.eval(tokens)
        return session.logits().tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(logits, range(12)))) == 1


def test_the_gil_is_released(make_tiny):
    path = make_tiny(n_layers=4, n_embd=256, n_heads=4, n_ff=1024, context_length=2048)
    llama = Llama(path, n_ctx=2048, n_threads=1, verbose=False)
    done = threading.Event()
    ticks = 0

    def work():
        llama.eval([5] * 2000)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.wait(0.002):
        ticks += 1
    thread.join()
    assert ticks >= 5


def test_ctrl_c_stops_a_generation(tiny_model):
    script = """
        import sys
        from spectralkv import Llama
        llama = Llama(sys.argv[1], n_ctx=0, verbose=False)
        try:
            print("ready", flush=True)
            while True:
                llama("hello", max_tokens=200, temperature=1.0)
        except KeyboardInterrupt:
            print("interrupted", llama("hello", max_tokens=3)["usage"]["prompt_tokens"] > 0, flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), tiny_model], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert out == "interrupted True\n"
    assert process.returncode == 0


FORK = """
    import os, sys, threading
    from spectralkv import Llama
    llama = Llama(sys.argv[1], n_ctx=0, n_threads=3, verbose=False)
    def text():
        return llama("hello the tin", temperature=0, max_tokens=20)["choices"][0]["text"]
    expected = text()
    if sys.argv[2] == "busy":
        ready = threading.Event()
        done = threading.Event()
        def hold():  # as a call does, in another thread than the one that forks
            with llama._lock:
                ready.set()
                done.wait(30)
        thread = threading.Thread(target=hold)
        thread.start()
        ready.wait()
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if text() == expected else 1)
        except ValueError as error:
            os._exit(3 if "forked" in str(error) else 4)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if sys.argv[2] == "busy":
        done.set()
        thread.join()
    assert text() == expected
    print("child", status, flush=True)
"""


@pytest.mark.parametrize(("state", "status"), [("idle", 0), ("busy", 3)])
def test_a_forked_child_goes_on_or_says_why_not(tiny_model, state, status):
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORK), tiny_model, state]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.stdout == f"child {status}\n", result.stderr
