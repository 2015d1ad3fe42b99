"""Sessions that end while another one of their engine works."""

import os
import signal
import threading
import time

from spectralkv import _core


def test_a_session_ends_only_when_no_other_is_at_work(tiny_model):
    """A handler that runs within a call holds that call up, and meanwhile another thread ends a session."""
    engine = _core.Engine(tiny_model, n_threads=1)
    options = {"n_ctx": 512, "n_batch": 32, "type_k": "f16", "type_v": "f16"}
    busy = _core.Session(engine, **options)
    of_the_thread, of_the_handler = ([_core.Session(engine, **options)] for _ in range(2))
    inside, order, refusals = threading.Event(), [], []

    def handler(_signal, _frame):
        try:
            _ = busy.tokens
            return  # no call is under way
        except ValueError as error:
            refusals.append(str(error))
        if inside.is_set():
            return
        of_the_handler.clear()  # waits for nobody, or it would for ever
        inside.set()
        time.sleep(0.5)
        order.append("the call went on")

    def end():
        while not inside.wait(0.002):
            os.kill(os.getpid(), signal.SIGUSR1)
        of_the_thread.clear()
        order.append("the session ended")

    before = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=end)
    try:
        thread.start()
        while not inside.is_set():
            busy.reset()
            busy.eval(list(range(3, 35)) * 15)
    finally:
        inside.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert all("from inside its own call" in refusal for refusal in refusals)
    assert order == ["the call went on", "the session ended"]


def test_a_forked_child_ends_a_session_whose_engine_was_at_work(tiny_model):
    """The thread that holds the engine's lock is not in the child, so nobody would ever let it go."""
    engine = _core.Engine(tiny_model, n_threads=1)
    options = {"n_ctx": 512, "n_batch": 32, "type_k": "f16", "type_v": "f16"}
    busy, other = _core.Session(engine, **options), [_core.Session(engine, **options)]
    children = []

    def handler(_signal, _frame):
        try:
            _ = busy.tokens
        except ValueError:
            if not children:
                forking.set()
                forked.wait(30)

    forking, forked = threading.Event(), threading.Event()

    def fork():
        while not forking.wait(0.002):
            os.kill(os.getpid(), signal.SIGUSR1)
        child = os.fork()
        if child == 0:
            other.clear()
            os._exit(0)
        children.append(child)
        forked.set()

    before = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=fork)
    try:
        thread.start()
        while not forking.is_set():
            busy.reset()
            busy.eval(list(range(3, 35)) * 15)
    finally:
        forking.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    for _ in range(100):
        done, status = os.waitpid(children[0], os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)
    assert done and os.waitstatus_to_exitcode(status) == 0
