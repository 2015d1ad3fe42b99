"""What the package does about GPUs: nothing until one is asked for, then a clear word or the CPU's results."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from spectralkv import Llama

OPTIONS = {"n_ctx": 128, "type_k": "f32", "type_v": "f32", "logits_all": True, "verbose": False}


def gpu(tiny_model):
    """The tiny model on the GPU; skips where there is none, saying why."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return Llama(tiny_model, n_gpu_layers=-1, **OPTIONS)
        except UserWarning as warning:
            pytest.skip(f"no GPU: {warning}")


def test_the_cpu_path_loads_nothing_of_cuda(tiny_model):
    code = (
        "from spectralkv import Llama\n"
        "Llama({!r}, verbose=False)('a', max_tokens=1)\n"
        "print(open('/proc/self/maps').read())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code.format(tiny_model)], capture_output=True, text=True, check=True, env=os.environ
    )
    assert "spectralkv" in run.stdout
    for library in ("libcuda.so", "libcudart", "libcublas", "libcusolver", "libspectralkv_cuda"):
        assert library not in run.stdout


def test_a_part_of_the_layers_is_refused(tiny_model):
    with pytest.raises(ValueError, match="a part of the layers on the GPU is not supported"):
        Llama(tiny_model, n_gpu_layers=1, verbose=False)


def test_without_a_gpu_it_runs_on_the_cpu(tiny_model, monkeypatch):
    monkeypatch.delenv("SPECTRALKV_CUDA_LIBRARY", raising=False)
    try:
        with pytest.warns(UserWarning, match=r"n_gpu_layers=-1: everything runs on the CPU: \[cuda\]") as warned:
            llama = Llama(tiny_model, n_gpu_layers=-1, **OPTIONS)
    except pytest.fail.Exception:
        pytest.skip("there is a GPU")
    assert warned[0].filename == __file__
    assert llama("hello", max_tokens=2)["choices"]


@pytest.mark.parametrize("all_layers", [-1, -5])
def test_a_library_that_does_not_exist_is_named(tiny_model, monkeypatch, all_layers):
    monkeypatch.setenv("SPECTRALKV_CUDA_LIBRARY", "/nowhere/libspectralkv_cuda.so")
    with pytest.raises(ValueError, match="/nowhere/libspectralkv_cuda.so"):
        Llama(tiny_model, n_gpu_layers=all_layers, verbose=False)


def test_the_gpu_gives_the_cpus_scores(tiny_model):
    with gpu(tiny_model) as on_gpu, Llama(tiny_model, activations="f32", **OPTIONS) as on_cpu:
        for llama in (on_gpu, on_cpu):
            llama.eval(list(range(3, 40)))
        difference = np.linalg.norm(on_gpu.scores - on_cpu.scores)
        assert difference < 0.01 * np.linalg.norm(on_cpu.scores)
