"""Times PyTorch's attention in f16 on the shapes of a layer of the 8B model: 32 heads, 8 KV heads, head dim 128.

Flash and cuDNN, one token behind 8k, 32k and 128k and whole prompts; as many sets of K and V as are beyond the L2, in
turn. And the copy bandwidth of the same run.
"""

from __future__ import annotations

import functools
import math
import statistics
import sys
from collections.abc import Callable

HEADS, KV_HEADS, DIM = 32, 8, 128
BEYOND_L2 = 400e6  # bytes of K and V, together


def main() -> int:
    try:
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError as error:
        print(f"attention: PyTorch is missing ({error})")
        return 77
    if not torch.cuda.is_available():
        print("attention: there is no CUDA device")
        return 77
    sdpa = torch.nn.functional.scaled_dot_product_attention

    def timed(run: Callable[[], object], turns: int) -> float:
        times = []
        for turn in range(turns + 3):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run()
            end.record()
            end.synchronize()
            if turn >= 3:
                times.append(begin.elapsed_time(end))
        return statistics.median(times)

    def rows(heads: int, tokens: int) -> torch.Tensor:
        return torch.randn(1, heads, tokens, DIM, device="cuda", dtype=torch.float16)

    def measure(name: str, backend: SDPBackend, context: int, tokens: int) -> None:
        decoding = tokens == 1
        sets = max(1, math.ceil(BEYOND_L2 / (4 * KV_HEADS * context * DIM))) if decoding else 1
        all_sets = [(rows(HEADS, tokens), rows(KV_HEADS, context), rows(KV_HEADS, context)) for _ in range(sets)]

        def attend() -> None:
            for q, k, v in all_sets:
                sdpa(q, k, v, is_causal=not decoding, enable_gqa=True)

        with sdpa_kernel(backend):
            attend()
            torch.cuda.synchronize()
            if decoding:  # the overhead of launches is not to count
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    attend()
                ms = timed(graph.replay, 15) / sets
            else:
                ms = timed(attend, 5)
        kind, size, flops = (
            "decode" if decoding else "prompt",
            4 * KV_HEADS * context * DIM,
            2 * HEADS * context**2 * DIM,
        )
        rate = f"{size / ms * 1e-6:7.0f} GB/s" if decoding else f"{flops / ms * 1e-9:7.0f} TFLOP/s"
        print(f"{kind} {name:6} {context:7} {ms:9.4f} ms a layer {rate}", flush=True)

    one, two = (torch.empty(1 << 30, dtype=torch.uint8, device="cuda") for _ in range(2))
    ms = timed(functools.partial(two.copy_, one), 10)
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, copy {2 * one.numel() / ms * 1e-6:.0f} GB/s",
        flush=True,
    )
    for context, tokens in ((8192, 1), (32768, 1), (131072, 1), (8192, 8192), (32768, 32768)):
        for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION)):
            try:
                measure(name, backend, context, tokens)
            except RuntimeError as error:
                print(f"{name} {context} {tokens} failed: {str(error).splitlines()[0][:90]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
