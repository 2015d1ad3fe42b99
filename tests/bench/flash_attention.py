"""Times PyTorch's flash attention on f16 K and V in the shape of cuda_attention: flash_attention.py [TOKENS...]."""

from __future__ import annotations

import statistics
import sys

HEADS, KV_HEADS, HEAD_DIM = 32, 8, 128


def main() -> int:
    try:
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError as error:
        print(f"flash_attention: PyTorch is missing ({error})")
        return 77
    if not torch.cuda.is_available():
        print("flash_attention: there is no CUDA device")
        return 77
    for tokens in [int(text) for text in sys.argv[1:]] or [32768, 131072]:
        q = torch.randn(1, HEADS, 1, HEAD_DIM, device="cuda", dtype=torch.float16)
        k, v = (torch.randn(1, KV_HEADS, tokens, HEAD_DIM, device="cuda", dtype=torch.float16) for _ in range(2))
        times = []
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            for turn in range(35):
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                begin.record()
                torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
                end.record()
                end.synchronize()
                if turn >= 5:
                    times.append(begin.elapsed_time(end))
        size = 2 * k.numel() * k.element_size()
        ms = statistics.median(times)
        print(f"pytorch flash f16 {tokens:8d} {ms:9.3f} ms {size / 1e6:9.2f} MB {size / ms * 1e-6:9.1f} GB/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
