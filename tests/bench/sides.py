"""One engine in a process of its own, driven by peer.py through lines: `python sides.py ENGINE`.

The first line is the options as JSON. Then come commands, each answered by one line of JSON: `read A B` and `step A B`
append the token ids A to B of the list at once or one by one and give the seconds that this took; `hold` remembers
the context as it is, `back` returns to it; `top N` gives the N likeliest next tokens. Every engine computes the logits
of the last token and nothing samples, as in llama-bench.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

BATCH = 512
GGML_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "bf16": 30}
Options = dict[str, Any]


class Ours:
    def __init__(self, options: Options) -> None:
        from spectralkv import _core
        from spectralkv.calibrations import open_engine

        self.engine = open_engine(options["model"], n_threads=options["threads"])
        types = {"type_k": options["type_k"], "type_v": options["type_v"]}
        self.session = _core.Session(self.engine, n_ctx=options["n_ctx"], n_batch=BATCH, **types)
        self.name = f"spectralkv, {self.engine.description}"
        handle, self.state = tempfile.mkstemp(suffix=".state")
        os.close(handle)

    def eval(self, ids: Sequence[int]) -> None:
        self.session.eval(ids)

    def hold(self) -> None:
        self.session.save_state(self.state)

    def back(self) -> None:
        self.session.load_state(self.state)

    def logits(self) -> Any:
        return np.asarray(self.session.logits())

    def close(self) -> None:
        os.unlink(self.state)


class LlamaCpp:
    """llama.cpp through llama-cpp-python, with flash attention."""

    def __init__(self, options: Options) -> None:
        import llama_cpp

        self.lib = llama_cpp
        self.model = llama_cpp.Llama(
            options["model"],
            n_threads=options["threads"],
            n_threads_batch=options["threads"],
            n_ctx=options["n_ctx"],
            n_batch=BATCH,
            n_ubatch=BATCH,
            flash_attn=True,
            type_k=GGML_TYPES[options["type_k"]],
            type_v=GGML_TYPES[options["type_v"]],
            verbose=False,
        )
        self.context = self.model.ctx
        self.name = f"llama.cpp, llama-cpp-python {llama_cpp.__version__}"
        self.n_tokens = self.held = 0

    def eval(self, ids: Sequence[int]) -> None:
        for first in range(0, len(ids), BATCH):
            some = ids[first : first + BATCH]
            tokens = (ctypes.c_int32 * len(some))(*some)
            if self.lib.llama_decode(self.context, self.lib.llama_batch_get_one(tokens, len(some))) != 0:
                sys.exit("llama_decode failed")
        self.n_tokens += len(ids)

    def hold(self) -> None:
        self.held = self.n_tokens

    def back(self) -> None:
        if not self.lib.llama_memory_seq_rm(self.lib.llama_get_memory(self.context), 0, self.held, -1):
            sys.exit("llama_memory_seq_rm failed")
        self.n_tokens = self.held

    def logits(self) -> Any:
        return np.ctypeslib.as_array(self.lib.llama_get_logits_ith(self.context, -1), (self.model.n_vocab(),))

    def close(self) -> None:
        self.model.close()


class IkLlamaCpp:
    """ik_llama.cpp through ik-llama-cpp-python's bindings, with flash attention."""

    def __init__(self, options: Options) -> None:
        from ik_llama_cpp import _ctypes_api as api

        self.api = api
        api.llama_backend_init()
        self.model = api.llama_model_load_from_file(options["model"].encode(), api.llama_model_default_params())
        params = api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = options["n_ctx"], BATCH, BATCH
        params.n_threads = params.n_threads_batch = options["threads"]
        params.flash_attn = True
        params.type_k, params.type_v = GGML_TYPES[options["type_k"]], GGML_TYPES[options["type_v"]]
        self.context = api.llama_init_from_model(self.model, params) if self.model else None
        if not self.context:
            sys.exit("ik_llama.cpp did not take the model or the cache types")
        self.n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        self.batch = api.llama_batch_init(BATCH, 0, 1)
        self.remove = api._lib.llama_kv_cache_seq_rm
        self.remove.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]
        self.remove.restype = ctypes.c_bool
        self.name = "ik_llama.cpp, ik-llama-cpp-python"
        self.n_tokens = self.held = self.last = 0

    def eval(self, ids: Sequence[int]) -> None:
        for first in range(0, len(ids), BATCH):
            some = ids[first : first + BATCH]
            batch = self.batch
            batch.n_tokens = len(some)
            for i, token in enumerate(some):
                batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, self.n_tokens + i, 1
                batch.seq_id[i][0], batch.logits[i] = 0, i + 1 == len(some)
            if self.api.llama_decode(self.context, batch) != 0:
                sys.exit("llama_decode failed")
            self.n_tokens += len(some)
            self.last = len(some) - 1

    def hold(self) -> None:
        self.held = self.n_tokens

    def back(self) -> None:
        if not self.remove(self.context, 0, self.held, -1):
            sys.exit("llama_kv_cache_seq_rm failed")
        self.n_tokens = self.held

    def logits(self) -> Any:
        return np.ctypeslib.as_array(self.api.llama_get_logits_ith(self.context, self.last), (self.n_vocab,))

    def close(self) -> None:
        self.api.llama_free(self.context)
        self.api.llama_free_model(self.model)


ENGINES = {"spectralkv": Ours, "llama.cpp": LlamaCpp, "ik_llama.cpp": IkLlamaCpp}


def main() -> None:
    options = json.loads(sys.stdin.readline())
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is not an answer
    side = ENGINES[sys.argv[1]](options)
    ids = options["ids"]

    def answer(command: str, *numbers: int) -> Any:
        if command == "top":
            order = np.argsort(-np.round(side.logits(), 3), kind="stable")  # equal ones by their ids
            return [int(i) for i in order[: numbers[0]]]
        if command in ("hold", "back"):
            return getattr(side, command)()
        begin = time.perf_counter()
        if command == "read":
            side.eval(ids[slice(*numbers)])
        else:
            for i in range(*numbers):
                side.eval([ids[i]])
        return time.perf_counter() - begin

    print(json.dumps(side.name), file=replies)
    for line in sys.stdin:
        command, *numbers = line.split()
        print(json.dumps(answer(command, *map(int, numbers))), file=replies)
    side.close()


if __name__ == "__main__":
    main()
