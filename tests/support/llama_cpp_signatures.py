"""Prints the signatures of llama-cpp-python's classes as JSON, for the interpreter that has it:
python tests/support/llama_cpp_signatures.py > tests/support/llama_cpp_signatures.json"""

import inspect
import json

CLASSES = (
    "Llama",
    "LlamaDiskCache",
    "LlamaGrammar",
    "LlamaRAMCache",
    "LlamaState",
    "LlamaTokenizer",
    "MinTokensLogitsProcessor",
)


def signature(function):
    """[[name, kind, default]] without self; a default that is no JSON is its text, and none has no third entry."""
    out = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        row = [parameter.name, parameter.kind.name]
        if parameter.default is not parameter.empty:
            row.append(json.loads(json.dumps(parameter.default, default=str)))
        out.append(row)
    return out


def signatures(module, classes=CLASSES):
    """{"Class.method": its signature}, of all public methods, __init__ and __call__."""
    out = {}
    for name in classes:
        kind = getattr(module, name)
        for method, value in sorted(inspect.getmembers(kind)):
            if method.startswith("_") and method not in ("__init__", "__call__"):
                continue
            if inspect.isfunction(value) or inspect.ismethod(value):
                out[f"{name}.{method}"] = signature(value)
            elif isinstance(value, property):
                out[f"{name}.{method}"] = "property"
    return out


if __name__ == "__main__":
    import llama_cpp

    found = {"version": llama_cpp.__version__, **signatures(llama_cpp)}
    print("{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in found.items()) + "\n}")
