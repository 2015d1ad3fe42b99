"""Asks a server of a tiny model what its own description allows, and what it does not; no 5xx may come but 501.

`python tests/checks/serve_api.py [EXAMPLES]`, with `pip install schemathesis`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from common import ROOT, finish

sys.path.insert(0, str(ROOT / "tests"))
from support.serving import serving
from support.tiny_model import write_tiny_model

# Read by schemathesis in the folder that it runs in.
CONFIG = '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", "501"]\n'
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance"


def faults() -> Iterator[str]:
    found = shutil.which("schemathesis", path=str(Path(sys.executable).parent)) or shutil.which("schemathesis")
    if found is None:
        sys.exit("serve_api: schemathesis is missing: pip install schemathesis")
    examples = sys.argv[1] if len(sys.argv) > 1 else "40"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "schemathesis.toml").write_text(CONFIG)
        model = write_tiny_model(Path(folder) / "tiny.gguf", context_length=512)
        with serving(str(model), timeout=1, slot_folder=folder, pooling="mean") as server:
            url = f"{server.url}/openapi.json"
            command = [found, "run", url, "--checks", CHECKS, "--max-examples", examples, "-w", "1"]
            result = subprocess.run(
                [*command, "--phases", "coverage,fuzzing"], cwd=folder, capture_output=True, text=True
            )
            if result.returncode != 0:
                yield result.stdout[-4000:] + result.stderr[-1000:]
            if not server.idle():
                yield "requests are left"


if __name__ == "__main__":
    finish("serve_api", faults(), "no 5xx but 501, and every answer is one of the description")
