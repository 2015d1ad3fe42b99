"""llama-server's own routes: /completion, /infill, and /props, which says what they take."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from spectralkv.grammar import LlamaGrammar
from spectralkv.infill import project_prompt
from spectralkv.serve.answers import FINGERPRINT, Answers
from spectralkv.serve.bodies import InfillBody, NativeBody, NativeSampling, PromptText
from spectralkv.serve.completions import as_text, cancel, read_body, service_of, stops_of, stream, whole
from spectralkv.serve.errors import ApiError, bare
from spectralkv.serve.native_answers import NativeAnswers, NativeChoice
from spectralkv.serve.sampling import biases_of, settings
from spectralkv.serve.service import Service
from spectralkv.serve.worker import Inbox, Job

RANDOM_SEED = 2**32 - 1  # llama.cpp's number for another one each time
MOST_ANSWERS = 64
MOST_BIASES = 4096
MOST_PROBABILITIES = 1 << 20  # of all tokens of the answers to a request that is not streamed


def _prompts(given: Any) -> list[str | Sequence[int | str]]:
    """One of ids, or of texts between ids; else a list of prompts, as one of texts alone is."""
    prompts = given if isinstance(given, list) else [given]
    if any(isinstance(part, int) for part in prompts) and all(isinstance(part, (int, str)) for part in prompts):
        prompts = [prompts]
    if len(prompts) > MOST_ANSWERS:
        raise ApiError(400, f"{len(prompts)} prompts; {MOST_ANSWERS} are the most", "prompt")
    return [prompt.prompt_string if isinstance(prompt, PromptText) else prompt for prompt in prompts]


def _grammar(body: NativeSampling) -> tuple[LlamaGrammar | None, str]:
    """What the output must be, and which part of the body says so. An empty grammar is none; {}: any object."""
    if body.grammar:
        return LlamaGrammar.from_string(body.grammar), "grammar"
    schema = body.json_schema
    if schema is None:
        return None, "grammar"
    return LlamaGrammar.from_json_schema({"type": "object"} if schema == {} else schema), "json_schema"


def _limit(body: NativeSampling) -> int:
    given = (body.n_predict, body.max_completion_tokens, body.max_tokens)
    return next((n for n in given if n is not None), -1)


async def _answer(request: Request, body: NativeSampling, prompts: Sequence[Sequence[int]]) -> Response:
    service = service_of(request)
    n = body.n_cmpl or body.n or 1
    if len(prompts) * n > MOST_ANSWERS:
        raise ApiError(400, f"{len(prompts)} prompts with n={n}: at most {MOST_ANSWERS} answers can be asked for", "n")
    if body.seed == RANDOM_SEED:
        body.seed = -1
    # Once for all answers: a text has many tokens, and each answer tells them.
    biases = await run_in_threadpool(biases_of, body.logit_bias, service.tokenizer)
    if len(biases) > MOST_BIASES:
        raise ApiError(400, f"logit_bias names {len(biases)} tokens; {MOST_BIASES} are the most", "logit_bias")
    body.logit_bias = [(token, bias) for token, bias in biases]
    asked = body.n_probs or body.logprobs or None
    n_probs = None if asked is None else min(asked, service.tokenizer.n_vocab)
    limit = _limit(body)
    longest = min(limit, service.n_ctx) if limit >= 0 else service.n_ctx
    if not body.stream and (n_probs or 0) * len(prompts) * n * longest > MOST_PROBABILITIES:
        said = f"n_probs times the tokens of all answers may be {MOST_PROBABILITIES}; give n_predict, or stream"
        raise ApiError(400, said, "n_probs")
    stop, inbox = stops_of(body.stop), Inbox()
    try:
        grammar, param = _grammar(body)
    except ValueError as error:
        raise ApiError(400, bare(error), "json_schema") from None
    jobs: list[Job] = []
    choices: list[NativeChoice] = []
    try:
        for tokens in prompts:
            for _ in range(n):
                masks = await service.masks_of(grammar, param)
                index = len(jobs)
                jobs.append(
                    service.submit(inbox, index, tokens, body, masks, stop=stop, max_tokens=limit, n_top=n_probs)
                )
                end = partial(service.worker.cancel, jobs[-1])
                longest_ms = max(body.t_max_predict_ms or 0, 0)
                choices.append(NativeChoice(index, service.tokenizer, stop, n_probs, longest_ms, end))
    except BaseException:
        cancel(service, jobs)
        raise
    texts = [service.tokenizer.decode(tokens, True).decode("utf-8", "replace") for tokens in prompts for _ in range(n)]
    told = [_settings(service, body, job.seed) for job in jobs]
    answers = Answers(service.name, choices, jobs, inbox, sum(map(len, prompts)))
    native = NativeAnswers(answers, body, service.name, texts, told)
    if body.stream:
        return stream(request, service, answers, native.chunks())
    return await whole(request, service, answers, native.collect)


def _settings(service: Service, body: NativeSampling, seed: int) -> dict[str, Any]:
    limit = _limit(body)
    return settings(body, service.options.sampling, service.tokenizer, seed, stops_of(body.stop)) | {
        "n_predict": limit,
        "max_tokens": limit,
        "n_probs": body.n_probs or body.logprobs or 0,
        "timings_per_token": bool(body.timings_per_token),
        "post_sampling_probs": False,
        "n_ctx": service.n_ctx,
        "lora": [],
    }


async def completion(request: Request) -> Response:
    body, service = await read_body(request, NativeBody), service_of(request)
    return await _answer(request, body, [await service.encode(prompt, "prompt") for prompt in _prompts(body.prompt)])


async def infill(request: Request) -> Response:
    body, service = await read_body(request, InfillBody), service_of(request)
    limit = _limit(body)
    room = service.n_ctx - (limit if 0 <= limit <= service.n_ctx // 2 else service.n_ctx // 4)
    others = [(snippet.filename, snippet.text) for snippet in body.input_extra]

    def make() -> list[int]:
        texts = (body.input_prefix, body.input_suffix, body.prompt)
        return project_prompt(service.metadata(), service.tokenizer, texts, others, room, service.options.spm_infill)

    try:
        tokens = await run_in_threadpool(make)
    except ValueError as error:
        raise ApiError(400, bare(error), "input_prefix") from None
    return await _answer(request, body, [await service.encode(tokens, "input_prefix")])


async def props(request: Request) -> Response:
    service = service_of(request)
    return JSONResponse(
        {
            "default_generation_settings": {
                "params": _settings(service, NativeSampling.model_validate({}), RANDOM_SEED),
                "n_ctx": service.n_ctx,
            },
            "total_slots": service.options.n_parallel,
            "model_alias": service.name,
            "model_path": service.name,  # where it lies is the operator's own business
            "modalities": {"vision": False, "audio": False},
            "chat_template": as_text(service.template),
            "bos_token": service.piece(service.tokenizer.bos),
            "eos_token": service.piece(service.tokenizer.eos),
            "build_info": FINGERPRINT,
            "is_sleeping": False,
            "endpoint_slots": True,
            "endpoint_props": False,
            "endpoint_metrics": True,
        }
    )
