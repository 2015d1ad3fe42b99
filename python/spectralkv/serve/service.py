"""The model behind the server: its prompts, its requests, and what they are counted as."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool

from spectralkv import _core
from spectralkv.calibrations import open_engine
from spectralkv.chat import encode, format_chat
from spectralkv.grammar import LlamaGrammar, Masks, Vocabulary, of_response_format
from spectralkv.infill import METADATA_KEYS
from spectralkv.serve.bodies import AnySampling, ChatBody, CompletionBody, Conversation, SaveBody
from spectralkv.serve.embedder import Embedder
from spectralkv.serve.errors import ApiError, bare
from spectralkv.serve.metrics import Metrics
from spectralkv.serve.sampling import options_of
from spectralkv.serve.tools import Tools, message_for_template
from spectralkv.serve.worker import Busy, Inbox, Job, Worker

MOST_BREAKERS = 64  # of all answers to a request


@dataclass(frozen=True)
class ServiceOptions:
    """model: a path. n_ctx: tokens of a request, 0 for the model's own. n_batch: tokens of a step; None: as many as
    suit the engine. cache_bytes: of all sequences together. max_requests: that run or wait at a time. timeout: seconds
    of a request, queue and answer. slot_folder: where slots may be saved. kept_folder: where sequences are kept that
    memory has no room for, kept_bytes of them. parse_special: control tokens that messages write out count. template:
    a source in place of the model's, "" for that one. template_variables, sampling: what requests leave open, by the
    fields of SamplingOptions. spm_infill: infill has the suffix in front. pooling: of embeddings, "": there are none;
    embd_normalize: as llama.cpp numbers norms."""

    model: str
    alias: str = ""
    n_threads: int = 0
    n_gpu_layers: int = 0
    n_ctx: int = 4096
    n_batch: int | None = None
    n_parallel: int = 16
    type_k: str = "default"
    type_v: str = "default"
    kv_calibration: str = "auto"
    cache_bytes: int = 1 << 30
    max_requests: int = 256
    timeout: float = 600
    slot_folder: str | None = None
    kept_folder: str | None = None
    kept_bytes: int = 10 << 30
    parse_special: bool = False
    template: str = ""
    template_variables: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, float | int] = field(default_factory=dict)
    spm_infill: bool = False
    pooling: str = ""
    embd_normalize: int = 2


class Service:
    """Loads the model and starts the thread that runs it; `close` ends both."""

    def __init__(self, options: ServiceOptions, beside: Service | None = None) -> None:
        """beside: another service, whose model is shared."""
        self.options = options
        self.engine: _core.Engine = (
            beside.engine
            if beside is not None
            else open_engine(
                options.model,
                n_threads=options.n_threads,
                n_gpu_layers=options.n_gpu_layers,
                kv_calibration=options.kv_calibration,
            )
        )
        self.tokenizer = self.engine.tokenizer
        self.template = options.template or self.engine.chat_template
        self.name = options.alias or os.path.basename(options.model)
        self.created = int(time.time())
        self.n_ctx = options.n_ctx or int(self.engine.config["context_length"])
        scheduler = _core.Scheduler(
            self.engine,
            n_ctx=self.n_ctx,
            n_batch=self.engine.usual_batch if options.n_batch is None else options.n_batch,
            n_parallel=options.n_parallel,
            type_k=options.type_k,
            type_v=options.type_v,
            cache_bytes=options.cache_bytes,
            kept_folder=options.kept_folder,
            kept_folder_bytes=options.kept_bytes,
        )
        self.metrics = Metrics(scheduler)
        self.worker = Worker(scheduler, options.n_parallel, options.max_requests, self.metrics.ended)
        self.embedder = (
            Embedder(self.engine, self.n_ctx, options.pooling, options.max_requests, options.timeout)
            if options.pooling
            else None
        )
        self._vocabulary: Vocabulary | None = None
        self._metadata: dict[str, Any] | None = None
        self._preparing = threading.Lock()
        self._seeds = random.SystemRandom()
        self.worker.start()

    def close(self) -> None:
        self.worker.stop()

    def metadata(self) -> dict[str, Any]:
        """What infill looks up in the model file's, read at the first time; the vocabulary in it is large."""
        with self._preparing:
            if self._metadata is None:
                told = _core.gguf_info(self.options.model, any_type=True)["metadata"]
                self._metadata = {key: told[key] for key in METADATA_KEYS if key in told}
        return self._metadata

    # ---- prompts

    def piece(self, token: int) -> str:
        return self.tokenizer.piece(token, True).decode("utf-8", errors="replace") if token >= 0 else ""

    def _render(self, body: Conversation | SaveBody, tools: Tools | None) -> str:
        given = [message.model_dump(exclude_none=True) for message in body.messages or []]
        messages = [message_for_template(message) for message in given]
        variables: dict[str, Any] = {**self.options.template_variables, **(body.chat_template_kwargs or {})}
        if tools:
            variables["tools"] = tools.for_template()
        bos, eos = self.piece(self.tokenizer.bos), self.piece(self.tokenizer.eos)
        try:
            marks = None if self.options.parse_special else self.tokenizer
            return format_chat(self.template, messages, True, bos, eos, variables, marks)
        except ValueError as error:
            raise ApiError(400, bare(error), "messages") from None

    async def render(self, body: Conversation | SaveBody, tools: Tools | None) -> str:
        """The prompt of a chat, Marked where its messages are to stay plain text."""
        return await run_in_threadpool(self._render, body, tools)

    def _encode_parts(self, parts: Sequence[int | str]) -> list[int]:
        """Of texts between ids: what begins a text is in front where the first one is a text."""
        tokens: list[int] = []
        for i, part in enumerate(parts):
            if isinstance(part, int):
                tokens.append(part)
            else:
                tokens += encode(self.tokenizer, part) if i == 0 else self.tokenizer.encode(part.encode(), False, True)
        return tokens

    async def encode(self, prompt: str | Sequence[int | str], param: str, fits: bool = True) -> list[int]:
        """Token ids of a text, or those given, texts between them included. fits: ApiError where a request cannot hold
        them."""
        if isinstance(prompt, str):
            tokens = await run_in_threadpool(encode, self.tokenizer, prompt)
        else:
            tokens = await run_in_threadpool(self._encode_parts, prompt)
            if (largest := max(tokens, default=0)) >= self.tokenizer.n_vocab:
                raise ApiError(
                    400, f"there is no token {largest}: the vocabulary ends at {self.tokenizer.n_vocab - 1}", param
                )
        if not tokens:
            raise ApiError(400, "the prompt is empty, and the model has no token that begins a text", param)
        if fits and len(tokens) > self.n_ctx:
            raise ApiError(
                400,
                f"the prompt has {len(tokens)} tokens, a request holds {self.n_ctx} (-c raises it)",
                param,
                "context_length_exceeded",
            )
        return tokens

    # ---- what output must be

    def _masks(self, grammar: LlamaGrammar) -> Masks:
        with self._preparing:
            if self._vocabulary is None:
                self._vocabulary = Vocabulary(self.tokenizer)
        return self._vocabulary.masks(grammar)

    async def masks(self, body: ChatBody | CompletionBody, forced: LlamaGrammar | None = None) -> Masks | None:
        """The masks of one answer; forced: the grammar of a tool call that must come."""
        format_ = body.response_format
        param = "grammar" if body.grammar is not None else "response_format"
        asked = [body.grammar is not None, format_ is not None and format_.type != "text", forced is not None]
        if sum(asked) > 1:
            raise ApiError(400, "only one of grammar, response_format and a tool call can be asked for", "grammar")
        try:
            if forced is not None:
                grammar: LlamaGrammar | None = forced
            elif body.grammar is not None:
                grammar = LlamaGrammar.from_string(body.grammar)
            else:
                grammar = of_response_format(format_.model_dump(by_alias=True, exclude_none=True) if format_ else None)
        except ValueError as error:
            raise ApiError(400, bare(error), param) from None
        return await self.masks_of(grammar, param)

    async def masks_of(self, grammar: LlamaGrammar | None, param: str) -> Masks | None:
        """The masks of one answer that follows a grammar."""
        try:
            return await run_in_threadpool(self._masks, grammar) if grammar is not None else None
        except ValueError as error:
            raise ApiError(400, bare(error), param) from None

    # ---- requests

    def cache_line(self) -> dict[str, Any]:
        """What the caches hold, and what each sequence apart would take in f16; bits: of an entry, with sinks, exact
        tails and all that blocks need, and with what sequences share counted once."""
        scheduler, config = self.worker.scheduler, self.engine.config
        stats = scheduler.stats()
        entries = stats["held_tokens"] * config["n_layers"] * 2 * config["n_kv_heads"] * config["head_dim"]
        asked = stats["prompt_tokens"]
        return {
            "type_k": scheduler.type_k,
            "type_v": scheduler.type_v,
            "calibration": scheduler.calibration,
            "tokens": stats["held_tokens"],
            "bytes": stats["cache_bytes"],
            "f16_bytes": 2 * entries,
            "bits_per_entry": 8 * stats["cache_bytes"] / entries if entries else None,
            "budget_bytes": stats["budget_bytes"],
            "prompt_tokens": asked,
            "cached_tokens": stats["cached_tokens"],
            "hit_rate": stats["cached_tokens"] / asked if asked else None,
            "running": stats["running"],
            "waiting": stats["waiting"],
            "kept": stats["kept"],
        }

    def slots(self) -> list[dict[str, Any]]:
        """Every request that runs or waits; nothing of what it says."""
        now = time.time()
        return [
            {
                "id": job.slot,
                "id_task": job.number,
                "n_ctx": self.n_ctx,
                "speculative": False,
                "next_token": {"n_decoded": job.decoded},
                "prompt_tokens": job.prompt_tokens,
                "generated_tokens": job.decoded,
                "is_processing": job.decoded > 0,
                "age_s": round(now - job.started, 3),
            }
            for job in sorted(self.worker.jobs.copy().values(), key=lambda job: job.number)
        ]

    def sampling(self, body: AnySampling, number: int) -> _core.SamplingOptions:
        """How the answer of that number is drawn: a seed and its successors give n different ones."""
        seed = int(self.options.sampling.get("seed", -1) if body.seed is None else body.seed)
        if seed < 0:
            seed = self._seeds.getrandbits(62)
        options = self.options.sampling | options_of(body, self.tokenizer)
        return _core.SamplingOptions(**(options | {"seed": seed + number}))

    def submit(
        self,
        inbox: Inbox,
        index: int,
        tokens: Sequence[int],
        body: AnySampling,
        masks: Masks | None,
        *,
        stop: Sequence[str],
        max_tokens: int | None,
        n_top: int | None,
        render_special: bool = False,
    ) -> Job:
        """Hands a request to the scheduler. ApiError for options that it refuses, and where too many wait."""
        if len(body.dry_sequence_breakers or ()) * (index + 1) > MOST_BREAKERS:
            said = f"dry_sequence_breakers times answers may be {MOST_BREAKERS}"  # each looks through the vocabulary
            raise ApiError(400, said, "dry_sequence_breakers")
        try:
            return self.worker.submit(
                inbox,
                index,
                tokens,
                self.sampling(body, index),
                masks,
                -1 if body.id_slot is None else body.id_slot,
                max_tokens=-1 if max_tokens is None else max_tokens,
                stop=stop,
                ignore_end_tokens=bool(body.ignore_eos),
                render_special=render_special,
                top_logprobs=-1 if n_top is None else n_top,
                deadline_s=min(body.timeout or self.options.timeout, self.options.timeout),
                keep=body.cache_prompt is not False,
            )
        except Busy as error:
            raise ApiError(503, str(error), code="overloaded") from None
        except ValueError as error:
            raise ApiError(400, bare(error)) from None
