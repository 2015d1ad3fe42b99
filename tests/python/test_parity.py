"""The signatures of llama-cpp-python beside ours, and docs/llama-cpp-python.md beside both."""

import inspect
import json
import re
import subprocess
import warnings
from pathlib import Path

import pytest
from support.llama_cpp_signatures import signatures

import spectralkv
from spectralkv import Llama

SUPPORT = Path(__file__).resolve().parents[1] / "support"
STORED = json.loads((SUPPORT / "llama_cpp_signatures.json").read_text())
VERSION = STORED.pop("version")
NONE, EMPTY = object(), ([], None)

# Arguments that have no effect here, or none that is supported, with a value that would be one.
TRIED = {
    "split_mode": 2,
    "main_gpu": 1,
    "tensor_split": [0.5, 0.5],
    "use_mmap": False,
    "use_mlock": True,
    "n_threads_batch": 7,
    "attention_type": 1,
    "offload_kqv": False,
    "op_offload": True,
    "swa_full": False,
    "no_perf": True,
    "lora_base": "base.gguf",
    "lora_path": "adapter.gguf",
    "lora_scale": 0.5,
    "numa": True,
    "draft_model": object(),
    "tfs_z": 0.5,
    "penalize_nl": False,
}


@pytest.fixture(scope="module")
def theirs(request):
    """Their methods: of the llama-cpp-python that is here, else those that are stored."""
    try:
        python = request.getfixturevalue("llama_cpp_python")
    except pytest.skip.Exception:
        return STORED
    script = SUPPORT / "llama_cpp_signatures.py"
    found = json.loads(subprocess.run([python, str(script)], capture_output=True, check=True, text=True).stdout)
    if found.pop("version") == VERSION:
        assert found == STORED, f"write them again: {script.name} > {script.stem}.json"
    return found


@pytest.fixture(scope="module")
def ours():
    return signatures(spectralkv)


def tables(root):
    """{callable or "": {name: (state, text)}} of the page's sections; "" where rows name the methods themselves."""
    found = {}
    for section in (root / "docs" / "llama-cpp-python.md").read_text().split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        rows = {}
        for line in body.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if line.startswith("| `") and len(cells) == 3:
                rows |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), (cells[1], cells[2]))
        for name in re.findall(r"`([^`]+)`", heading):
            found[name] = rows
    return found


def test_methods_and_parameters_are_there(theirs, ours, root):
    documented = tables(root)
    for method, wanted in theirs.items():
        name = method.partition(".")[2]
        state = documented["Llama"].get(name, documented["LlamaState"].get(method, ("same", "")))[0]
        if state == "none":
            assert method not in ours
            continue
        assert method in ours or wanted == "property", method
        if wanted == "property" or method == "LlamaGrammar.__init__":
            continue
        got = {row[0]: row for row in ours[method]}
        taken = [row for row in ours[method] if row[1] == "POSITIONAL_OR_KEYWORD"]
        for place, row in enumerate(wanted):
            if row[1] in ("VAR_KEYWORD", "VAR_POSITIONAL"):
                continue
            assert row[0] in got, f"{method} has no {row[0]}"
            if row[1] == "POSITIONAL_OR_KEYWORD":
                assert taken[place][0] == row[0], f"{method}: {row[0]} is not argument number {place}"
            default, own = (entry[2] if len(entry) > 2 else NONE for entry in (row, got[row[0]]))
            assert default is NONE or own == default or (own in EMPTY and default in EMPTY), f"{method}: {row[0]}"


def test_the_page_has_every_parameter(theirs, root):
    documented = tables(root)
    for method, wanted in theirs.items():
        if method in documented:
            missing = {row[0] for row in wanted} - set(documented[method])
            assert not missing, f"{method}: {missing}"
        else:
            rows = documented["Llama"] if method.startswith("Llama.") else documented["LlamaState"]
            assert (method if rows is documented["LlamaState"] else method.partition(".")[2]) in rows, method
    for rows in documented.values():
        assert {state for state, _ in rows.values()} <= {"same", "differs", "none"}


def test_the_page_names_nothing_else(theirs, root):
    known = {row[0] for rows in theirs.values() if rows != "property" for row in rows}
    known |= {method.partition(".")[2] for method in theirs} | set(theirs)
    for rows in tables(root).values():
        assert set(rows) <= known


def test_what_has_no_effect_says_so(tiny_model, root):
    """Every row of state none: a warning that names the argument, or a ValueError that does."""
    rows = {name: text for table in tables(root).values() for name, (state, text) in table.items() if state == "none"}
    assert set(rows) - {"ctx", "model"} == set(TRIED)
    for name, value in TRIED.items():
        if name in ("tfs_z", "penalize_nl"):
            llama = Llama(tiny_model, n_ctx=64, verbose=False)
            with pytest.warns(UserWarning, match=name):
                next(llama.generate([5], **{name: value}))
            continue
        if "refused" in rows[name]:
            with pytest.raises(ValueError, match=name):
                Llama(tiny_model, n_ctx=64, n_gpu_layers=-1, verbose=False, **{name: value})
        else:
            with pytest.warns(UserWarning, match=f"{name}=") as warned:
                Llama(tiny_model, n_ctx=64, verbose=False, **{name: value})
            assert len(warned) == 1 and warned[0].filename == __file__


def test_defaults_say_nothing(tiny_model):
    """Their defaults, given one by one, are no reason for a warning."""
    given = {row[0]: row[2] for row in STORED["Llama.__init__"] if len(row) > 2}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        llama = Llama(tiny_model, **{**given, "verbose": False, "n_ctx": 64})
        for method in ("create_completion", "create_chat_completion", "generate", "sample"):
            options = {row[0]: row[2] for row in STORED[f"Llama.{method}"] if len(row) > 2}
            bound = inspect.signature(getattr(llama, method))
            assert set(options) <= set(bound.parameters)
        options = {row[0]: row[2] for row in STORED["Llama.create_completion"] if len(row) > 2}
        assert llama.create_completion("hello", **{**options, "max_tokens": 2})["usage"]["prompt_tokens"] > 0


def test_numbers_by_name(tiny_model, request):
    """As they stand in llama-cpp-python, where it is installed."""
    names = [name for name in spectralkv.__all__ if name.isupper()]
    ours = {name: getattr(spectralkv, name) for name in names}
    assert len(ours) == 22 and all(type(number) is int for number in ours.values())
    types = {"type_k": spectralkv.GGML_TYPE_Q8_0, "type_v": spectralkv.GGML_TYPE_F16}
    llama = Llama(tiny_model, n_ctx=64, split_mode=spectralkv.LLAMA_SPLIT_MODE_LAYER, verbose=False, **types)
    assert llama.cache_report()["k"]["codec"] == "q8_0" and llama.cache_report()["v"]["codec"] == "f16"
    python = request.getfixturevalue("llama_cpp_python")
    code = "import json, sys, llama_cpp; print(json.dumps({n: getattr(llama_cpp, n) for n in sys.argv[1:]}))"
    found = subprocess.run([python, "-c", code, *names], capture_output=True, check=True, text=True).stdout
    assert json.loads(found) == ours


def test_unknown_names_are_refused(tiny_model):
    llama = Llama(tiny_model, n_ctx=64, verbose=False)
    for call in (llama.create_completion, llama.create_chat_completion, llama.generate):
        with pytest.raises(TypeError, match="no_such_sampler"):
            call([], no_such_sampler=1)
    with pytest.raises(TypeError, match="no_such_argument"):
        Llama(tiny_model, no_such_argument=1)
