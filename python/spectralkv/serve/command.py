"""The command `spectralkv serve`."""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectralkv.calibrations import CALIBRATION_HELP
from spectralkv.extras import install_hint
from spectralkv.peers import add_peers, ignored_note
from spectralkv.serve.llama_server import PEERS, SAMPLING
from spectralkv.terminal import complain

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from spectralkv.serve.guard import GuardOptions
    from spectralkv.serve.service import ServiceOptions

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Says defaults, but for those that are nothing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default else action.help


def _gpu_layers(text: str) -> int:
    """As run has it: a number, or all."""
    return -1 if text == "all" else int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spectralkv serve",
        allow_abbrev=False,
        description="Answers many at a time over HTTP, as OpenAI's API does; docs/serving.md.",
        formatter_class=_Help,
        epilog="llama-server's other options are taken without effect, or refused with the reason.",
    )
    model = parser.add_argument_group("model")
    source = model.add_mutually_exclusive_group()
    source.add_argument("-m", "--model", metavar="PATH", help="a GGUF file; without -m and -hf the demo model")
    source.add_argument("-hf", "-hfr", "--hf-repo", metavar="REPO[:QUANT]", help="a model of the Hugging Face Hub")
    model.add_argument("-hff", "--hf-file", default="", metavar="FILE", help="the file in that repository")
    model.add_argument("-a", "--alias", default="", metavar="NAME", help="the model's name in /v1/models")
    model.add_argument("-t", "--threads", type=int, default=0, metavar="N", help="0: one a core")
    model.add_argument(
        "-ngl", "--n-gpu-layers", "--gpu-layers", type=_gpu_layers, default=0, metavar="N", help="-1: all on the GPU"
    )
    model.add_argument("--chat-template", default="", metavar="JINJA", help="in place of the model's own, or a name")
    model.add_argument("--chat-template-file", metavar="PATH", help="the same, of a file")
    model.add_argument("--chat-template-kwargs", default="{}", metavar="JSON", help="variables of the template")
    cache = parser.add_argument_group("requests and cache")
    cache.add_argument(
        "-c", "--ctx-size", type=int, default=4096, metavar="N", help="tokens of a request; 0: the model's"
    )
    cache.add_argument(
        "-b", "--batch-size", type=int, metavar="N", help="tokens of a step, at most; without it 512, on a GPU 2048"
    )
    cache.add_argument("-ub", "--ubatch-size", type=int, metavar="N", help="the same; the smaller counts")
    cache.add_argument("-np", "--parallel", type=int, default=16, metavar="N", help="requests that run at a time")
    cache.add_argument("--max-requests", type=int, default=256, metavar="N", help="that run or wait; more get 503")
    cache.add_argument("-cram", "--cache-ram", type=int, default=1024, metavar="MiB", help="of all KV caches together")
    cache.add_argument(
        "-ctk",
        "--cache-type-k",
        default="default",
        metavar="SPEC",
        help="how keys are cached; default is eoptshrinkq:2",
    )
    cache.add_argument("-ctv", "--cache-type-v", metavar="SPEC", help="how values are cached; without it as the keys")
    cache.add_argument("--kv-calibration", default="auto", metavar="SOURCE", help=CALIBRATION_HELP)
    cache.add_argument("--cache-disk", metavar="FOLDER", help="keeps sequences beyond memory, and over restarts")
    cache.add_argument("--cache-disk-size", type=int, default=10240, metavar="MiB", help="of --cache-disk")
    cache.add_argument("--slot-save-path", metavar="FOLDER", help="where requests may save and restore slots")
    cache.add_argument(
        "-to", "--timeout", type=float, default=600, metavar="S", help="seconds of a request, queue and answer"
    )
    cache.add_argument("--compare", metavar="SPEC", help="a second cache type, which answers under /compare")
    marks = "control tokens that messages write out count as such (default: they are plain text)"
    cache.add_argument("--parse-special", action="store_true", help=marks)
    cache.add_argument(
        "--embeddings", "--embedding", action="store_true", help="embed texts too, with a cache in f16 of -c tokens"
    )
    cache.add_argument("--pooling", default="mean", choices=["none", "mean", "cls", "last"], help="of embeddings")
    cache.add_argument("--embd-normalize", type=int, default=2, metavar="N", help="-1: not; 2: Euclid's length")
    cache.add_argument("--spm-infill", action="store_true", help="/infill has the suffix in front of the prefix")
    sampling = parser.add_argument_group("defaults of requests, which may say otherwise")
    for names, field, kind in SAMPLING:
        sampling.add_argument(*names, dest=f"sampling_{field}", type=kind, metavar="N")
    sampling.add_argument("-s", "--seed", dest="sampling_seed", type=int, metavar="N", help="-1: another one each time")
    replicas = parser.add_argument_group("replicas behind Ray Serve")
    replicas.add_argument(
        "--ray", nargs="?", const="local", metavar="ADDRESS", help="run replicas on a cluster; without ADDRESS one here"
    )
    replicas.add_argument("--replicas", type=int, default=1, metavar="N", help="each with the caches and -t of its own")
    replicas.add_argument(
        "--ray-options", metavar="JSON", help="of the deployment, such as autoscaling_config; or @ and a file's path"
    )
    network = parser.add_argument_group("network")
    network.add_argument("--host", default="127.0.0.1", help="the address to listen at")
    network.add_argument("--port", type=int, default=8080, help="0: one that is free")
    network.add_argument("--api-key", action="append", default=[], metavar="KEY", help="may be given several times")
    network.add_argument("--api-key-file", metavar="PATH", help="keys, a line each")
    network.add_argument("--allowed-host", action="append", default=[], metavar="NAME", help="names in Host headers")
    network.add_argument("--cors-origin", action="append", default=[], metavar="ORIGIN", help="whose pages may ask")
    network.add_argument("--max-body", type=int, default=16, metavar="MiB", help="of a request's body")
    network.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    for names, level in ((("-v", "--verbose", "--log-verbose"), "debug"), (("--log-disable",), "error")):
        network.add_argument(*names, dest="log_level", action="store_const", const=level, help=f"--log-level {level}")
    add_peers(parser, PEERS)
    return parser


def _model_path(args: argparse.Namespace) -> str:
    if args.model is not None:
        return str(args.model)
    if args.hf_repo is not None:
        from spectralkv.fetch.hub import fetch_reference

        return fetch_reference(args.hf_repo, args.hf_file)
    from spectralkv.fetch.pull import pull

    return pull()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_keys(given: Sequence[str], path: str | None) -> list[str]:
    """Keys of --api-key, --api-key-file and the variable SPECTRALKV_API_KEY."""
    keys = [*given, *os.environ.get("SPECTRALKV_API_KEY", "").split()]
    if path is not None:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
        if not any(lines):
            raise ValueError(f"--api-key-file: '{path}' has no key")
        keys += [line for line in lines if line]
    if not all(keys):
        raise ValueError("--api-key: the key is empty")
    return keys


def _template(options: argparse.Namespace) -> str:
    """A template's source, or "" for the model's own."""
    if options.chat_template_file is not None:
        return Path(options.chat_template_file).read_text(encoding="utf-8")
    source = str(options.chat_template)
    if source and "{" not in source:
        from spectralkv.chat_formats import named

        return named(source).template
    return source


def _variables(options: argparse.Namespace) -> dict[str, Any]:
    try:
        given = json.loads(options.chat_template_kwargs)
    except ValueError as error:
        raise ValueError(f"--chat-template-kwargs: {error}") from None
    if not isinstance(given, dict):
        raise ValueError(f"--chat-template-kwargs: expected an object, got {options.chat_template_kwargs!r}")
    return given


def _sampling(options: argparse.Namespace) -> dict[str, float | int]:
    """What was given, by the fields of SamplingOptions; ValueError for what makes no sense."""
    from spectralkv import _core

    head = "sampling_"
    given = {name[len(head) :]: value for name, value in vars(options).items() if name.startswith(head)}
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("seed", 0) < 0:
        del given["seed"]
    if given.get("seed", 0) >= 1 << 63:
        raise ValueError(f"--seed {given['seed']}: below 2^63 is expected")
    _core.Sampler(_core.SamplingOptions(**given), 2)
    return given


def _settings(options: argparse.Namespace) -> ServiceOptions:
    from spectralkv.serve.service import ServiceOptions

    if options.cache_ram < 1 or options.max_body < 1 or options.max_requests < 1 or not options.timeout > 0:
        raise ValueError("--cache-ram, --max-body, --max-requests and --timeout must be above 0")
    if options.slot_save_path is not None and not os.path.isdir(options.slot_save_path):
        raise ValueError(f"--slot-save-path: '{options.slot_save_path}' is no folder")
    if not -1 <= options.embd_normalize <= 100:
        raise ValueError(f"--embd-normalize {options.embd_normalize}: -1 to 100 is expected")
    threads = max(options.threads, 0)
    if options.ray is None:
        for name in ("replicas", "ray_options"):
            if getattr(options, name) != _parser().get_default(name):
                raise ValueError(f"--{name.replace('_', '-')} needs --ray")
    else:
        for name in ("compare", "cache_disk", "slot_save_path"):  # of one process, or one machine
            if getattr(options, name) is not None:
                raise ValueError(f"--{name.replace('_', '-')} cannot be together with --ray")
        if options.replicas < 1:
            raise ValueError("--replicas must be at least 1")
        threads = threads or max(len(os.sched_getaffinity(0)) // options.replicas, 1)
    return ServiceOptions(
        model=_model_path(options),
        alias=options.alias,
        n_threads=threads,
        n_gpu_layers=options.n_gpu_layers,
        n_ctx=options.ctx_size,
        n_batch=min((n for n in (options.batch_size, options.ubatch_size) if n is not None), default=None),
        n_parallel=options.parallel,
        type_k=options.cache_type_k,
        type_v=options.cache_type_k if options.cache_type_v is None else options.cache_type_v,
        kv_calibration=options.kv_calibration,
        cache_bytes=options.cache_ram << 20,
        max_requests=options.max_requests,
        timeout=options.timeout,
        slot_folder=options.slot_save_path,
        kept_folder=options.cache_disk,
        kept_bytes=options.cache_disk_size << 20,
        parse_special=options.parse_special,
        template=_template(options),
        template_variables=_variables(options),
        sampling=_sampling(options),
        spm_infill=options.spm_infill,
        pooling=options.pooling if options.embeddings else "",
        embd_normalize=options.embd_normalize,
    )


def _guard(options: argparse.Namespace) -> GuardOptions:
    from spectralkv.serve.guard import GuardOptions

    keys = read_keys(options.api_key, options.api_key_file)
    # A page elsewhere could make its own name lead here; the names of this machine are all that a browser needs.
    hosts = [name.lower() for name in options.allowed_host]
    if _is_loopback(options.host):
        hosts += [*LOOPBACK_HOSTS, options.host]
    elif not keys:
        print(f"warning: whoever reaches {options.host} may use the server: no --api-key is set", file=sys.stderr)
    return GuardOptions(keys=keys, hosts=hosts, body_bytes=options.max_body << 20)


def _one_service(options: argparse.Namespace, settings: ServiceOptions, guard: GuardOptions) -> Starlette:
    from spectralkv.serve.app import make_app
    from spectralkv.serve.service import Service

    service = Service(settings)
    compare = None
    if options.compare is not None:
        other = replace(settings, type_k=options.compare, type_v=options.compare, kept_folder=None, slot_folder=None)
        compare = Service(other, service)
    print(f"model: {service.engine.description}", file=sys.stderr)
    if warning := service.engine.cache_warning(settings.type_k, settings.type_v):
        print(f"warning: {warning}", file=sys.stderr)
    return make_app(service, guard, options.cors_origin, compare)


def _replicas(options: argparse.Namespace, settings: ServiceOptions, guard: GuardOptions) -> Starlette:
    from spectralkv.serve.cluster import ClusterOptions, make_front, read_options, start_replicas

    cluster = ClusterOptions(options.ray, options.replicas, read_options(options.ray_options))
    handle, end = start_replicas(cluster, settings)
    return make_front(handle, guard, options.cors_origin, end)


def main(args: Sequence[str]) -> int:
    options = _parser().parse_args(args)
    if note := ignored_note(options.ignored, "docs/serving.md"):
        print(note, file=sys.stderr)
    try:
        from spectralkv.serve.listen import make_server

        guard = _guard(options)
        make = _one_service if options.ray is None else _replicas
        app = make(options, _settings(options), guard)
    except ImportError as error:
        hint = install_hint("serve" if options.ray is None else "ray")
        print(f"error: the server needs packages that are not installed: {hint} ({error})", file=sys.stderr)
        return 1
    except (OSError, ValueError, MemoryError, RuntimeError) as error:
        return complain(error)
    server = make_server(
        app,
        connections=options.max_requests + 64,
        host=options.host,
        port=options.port,
        log_level=options.log_level,
    )
    server.run()
    return 0 if server.started else 1
