"""llama.cpp's samplers for the tests, in an interpreter that has llama-cpp-python: `python llama_cpp_samplers.py`.

Reads one JSON object: vocabulary (path of a GGUF file), cases, each with logits (or how many zeros), history (ids that
the samplers are told first) and steps, pairs of what follows llama_sampler_init_ and its arguments. Writes a list: for
each case the pairs of id and logit that are left. "vocab" as an argument stands for the vocabulary, a list of texts for
C strings.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

import llama_cpp


def made(name: str, arguments: list[Any], vocabulary: Any) -> Any:
    values = list[Any]()
    for argument in arguments:
        if argument == "vocab":
            values.append(vocabulary)
        elif isinstance(argument, list):
            values += [(ctypes.c_char_p * len(argument))(*(text.encode() for text in argument)), len(argument)]
        else:
            values.append(argument)
    return getattr(llama_cpp, f"llama_sampler_init_{name}")(*values)


def remaining(case: dict[str, Any], vocabulary: Any) -> list[tuple[int, float]]:
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    for name, arguments in case["steps"]:
        llama_cpp.llama_sampler_chain_add(chain, made(name, arguments, vocabulary))
    for token in case["history"]:
        llama_cpp.llama_sampler_accept(chain, token)
    given = case["logits"]
    logits = [0.0] * given if isinstance(given, int) else given
    n = len(logits)
    data = (llama_cpp.llama_token_data * n)()
    for token, logit in enumerate(logits):
        data[token].id, data[token].logit = token, logit
    array = llama_cpp.llama_token_data_array(data=data, size=n, selected=-1, sorted=False)
    llama_cpp.llama_sampler_apply(chain, ctypes.byref(array))
    left = [(array.data[i].id, array.data[i].logit) for i in range(array.size)]
    llama_cpp.llama_sampler_free(chain)
    return left


def main() -> None:
    given = json.load(sys.stdin)
    model = llama_cpp.Llama(given["vocabulary"], vocab_only=True, verbose=False)
    vocabulary = llama_cpp.llama_model_get_vocab(model.model)
    json.dump([remaining(case, vocabulary) for case in given["cases"]], sys.stdout)


if __name__ == "__main__":
    main()
