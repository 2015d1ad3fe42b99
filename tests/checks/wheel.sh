#!/usr/bin/env bash
# Builds a wheel, or takes one, looks at what it asks of a system, and runs it where no compiler is: wheel.sh [WHEEL]
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/wheels" "$work/home"
if [ $# -gt 0 ]; then
  cp "$1" "$work/wheels"
else
  SKBUILD_CMAKE_DEFINE=${SKBUILD_CMAKE_DEFINE:-SPECTRALKV_CUDA=OFF} \
    pip wheel -q --no-deps --wheel-dir "$work/wheels" "$root"
fi
wheel=$(ls "$work"/wheels/*.whl)

python3 -m venv "$work/tools"
"$work/tools/bin/pip" install -q --disable-pip-version-check auditwheel
shown=$("$work/tools/bin/auditwheel" show "$wheel")
echo "$shown"
# Of a wheel that needs a library beyond those of every Linux, auditwheel says that it suits this one alone.
echo "$shown" | tr '\n' ' ' | grep -qE '"manylinux_[0-9]+_[0-9]+_[a-z0-9_]+"' || {
  echo "wheel: it is for this system alone"
  exit 1
}

python3 -m venv "$work/empty"
bare() { env -i HOME="$work/home" PATH="$work/empty/bin" "$@"; }
bare pip install -q --disable-pip-version-check --only-binary :all: "$wheel"
for compiler in cc c++ gcc g++ cmake ninja; do
  if bare "$work/empty/bin/python" -c "import shutil, sys; sys.exit(shutil.which('$compiler') is None)"; then
    echo "wheel: $compiler is at hand where it should not be"
    exit 1
  fi
done
python3 "$root/tests/checks/tiny_gguf.py" "$work/tiny.gguf"
answer=$(bare spectralkv run -m "$work/tiny.gguf" -p "abc" -n 8 --temp 0 -no-cnv --ignore-eos --log-disable)
[ "${answer#abc}" != "" ] || { echo "wheel: no text came"; exit 1; }
bare python -c "import spectralkv; spectralkv.Llama('$work/tiny.gguf', n_ctx=64, verbose=False)('abc', max_tokens=4)"
echo "wheel: $(basename "$wheel") runs where no compiler is"
