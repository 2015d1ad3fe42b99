"""What llama.cpp's llama_model_quantize makes of files, in an interpreter that has llama-cpp-python.

Reads a JSON list of jobs from stdin: {model, file_type, importance, options}: options are fields of
llama_model_quantize_params; with importance, every matrix has an importance matrix. A job may have layers, the number
of the type that all matrices of layers get, and out, where to leave the file. Writes a JSON list to the path that is
the only argument: for each job {tensor: type}, or null where llama.cpp refuses. (It writes to stderr at will.)
"""

from __future__ import annotations

import ctypes
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import llama_cpp
from gguf import GGUFReader


def importance_of(path: str) -> Any:
    tensors = GGUFReader(path).tensors
    out = (llama_cpp.llama_model_imatrix_data * (len(tensors) + 1))()  # ends with an empty one
    for entry, tensor in zip(out, tensors, strict=False):
        size = int(tensor.shape[0])
        for n in tensor.shape[2:]:
            size *= int(n)
        entry.name, entry.size = tensor.name.encode(), size
        entry.data = (ctypes.c_float * size)(*([1.0] * size))
    return out


def types_of(job: dict[str, Any], out: Path) -> dict[str, str] | None:
    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread, params.ftype = 1, job["file_type"]
    for key, value in job["options"].items():
        setattr(params, key, value)
    if job["importance"]:
        params.imatrix = importance_of(job["model"])
    if "layers" in job:
        kinds = (llama_cpp.llama_model_tensor_override * 2)()  # ends with an empty one
        kinds[0].pattern, kinds[0].type = rb"blk\.", job["layers"]
        params.tt_overrides = kinds
    if llama_cpp.llama_model_quantize(job["model"].encode(), str(out).encode(), ctypes.byref(params)) != 0:
        return None
    return {tensor.name: tensor.tensor_type.name.lower() for tensor in GGUFReader(out).tensors}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        answers = [types_of(job, Path(job.get("out", Path(folder) / "out.gguf"))) for job in json.load(sys.stdin)]
    Path(sys.argv[1]).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
