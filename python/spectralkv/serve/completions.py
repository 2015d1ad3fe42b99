"""The routes /v1/chat/completions and /v1/completions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

import anyio
from pydantic import ValidationError
from sse_starlette.sse import EventSourceResponse
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from spectralkv.serve import answers as made
from spectralkv.serve.answers import Answers, Choice, Result
from spectralkv.serve.bodies import Body, ChatBody, CompletionBody
from spectralkv.serve.clients import SEND_TIMEOUT, while_connected
from spectralkv.serve.errors import ApiError, of_validation
from spectralkv.serve.service import Service
from spectralkv.serve.streams import Event, form_of
from spectralkv.serve.tools import Tools
from spectralkv.serve.worker import Inbox, Job

AnyBody = TypeVar("AnyBody", bound=Body)
DEFAULT_TOKENS = 16  # of a text's continuation, as OpenAI has it
PING = 15  # seconds between comments that show a silent connection to be dead


async def read_body(request: Request, kind: type[AnyBody]) -> AnyBody:
    """The body as its declaration has it; ApiError otherwise."""
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        raise of_validation(error) from None


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def as_text(text: str) -> str:
    """What a file or a template has written, without bytes that are no text."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def stops_of(given: str | Sequence[str] | None) -> list[str]:
    """The texts that end an answer; empty ones end none."""
    return [text for text in ([given] if isinstance(given, str) else given or []) if text]


async def start_chat(service: Service, body: ChatBody) -> Answers:
    """Hands all answers to a chat to the scheduler."""
    tools = Tools.of_body(body, service.template)
    tokens = await service.encode(await service.render(body, tools), "messages")
    limits = [n for n in (body.max_completion_tokens, body.max_tokens) if n is not None and n >= 0]
    asked = body.max_completion_tokens if body.max_tokens is None else body.max_tokens
    limit = min(limits, default=body.limit(asked))
    n_top = (body.top_logprobs or 0) if body.logprobs else None
    forced = tools.grammar(service.tokenizer) if tools else None
    inbox, n = Inbox(), body.n or 1
    jobs: list[Job] = []
    try:
        for index in range(n):
            masks = await service.masks(body, forced)
            special = tools is not None and tools.form.renders_special
            jobs.append(
                service.submit(
                    inbox,
                    index,
                    tokens,
                    body,
                    masks,
                    stop=stops_of(body.stop),
                    max_tokens=limit,
                    n_top=n_top,
                    render_special=special,
                )
            )
    except BaseException:
        cancel(service, jobs)
        raise
    stop = stops_of(body.stop)
    choices = [Choice(index, service.tokenizer, n_top is not None, tools, stop=stop) for index in range(n)]
    for choice in choices:
        choice.strip = service.tokenizer.strips_answers
    return Answers(service.name, choices, jobs, inbox, len(tokens))


async def chat_completions(request: Request) -> Response:
    body, service = await read_body(request, ChatBody), service_of(request)
    answers, records = await start_chat(service, body), bool(body.logprobs)
    usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    if body.stream:
        return stream(request, service, answers, made.stream_chat(answers, records, usage))
    return await whole(request, service, answers, lambda: made.complete_chat(answers, records))


async def completions(request: Request) -> Response:
    body, service = await read_body(request, CompletionBody), service_of(request)
    if body.echo and body.logprobs is not None:
        raise ApiError(400, "echo together with logprobs is not supported", "echo")
    prompts: Any = body.prompt
    if isinstance(prompts, str) or (prompts and isinstance(prompts[0], int)):
        prompts = [prompts]
    n = body.n or 1
    if len(prompts) * n > 64:
        raise ApiError(400, f"{len(prompts)} prompts with n={n}: at most 64 answers can be asked for", "n")
    unsaid = not {"max_tokens", "n_predict"} & body.model_fields_set
    limit = DEFAULT_TOKENS if unsaid else body.limit(body.max_tokens)
    encoded = [await service.encode(prompt, "prompt") for prompt in prompts]
    inbox = Inbox()
    jobs: list[Job] = []
    choices: list[Choice] = []
    try:
        for prompt, tokens in zip(prompts, encoded, strict=True):
            text = ""
            if body.echo:
                text = (
                    prompt if isinstance(prompt, str) else service.tokenizer.decode(tokens).decode("utf-8", "replace")
                )
            for _ in range(n):
                masks = await service.masks(body)
                index = len(jobs)
                jobs.append(
                    service.submit(
                        inbox,
                        index,
                        tokens,
                        body,
                        masks,
                        stop=stops_of(body.stop),
                        max_tokens=limit,
                        n_top=body.logprobs,
                    )
                )
                choices.append(Choice(index, service.tokenizer, body.logprobs is not None, prefix=text))
    except BaseException:
        cancel(service, jobs)
        raise
    answers = Answers(service.name, choices, jobs, inbox, sum(map(len, encoded)))
    records = body.logprobs is not None
    usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    if body.stream:
        return stream(request, service, answers, made.stream_text(answers, records, usage))
    return await whole(request, service, answers, lambda: made.complete_text(answers, records))


def cancel(service: Service, jobs: Sequence[Job]) -> None:
    for job in jobs:
        service.worker.cancel(job)


async def whole(request: Request, service: Service, answers: Answers, collect: Callable[[], Any]) -> Response:
    """The result when it is complete; a client that goes away ends its requests."""
    result: list[Result] = []
    failure: list[ApiError] = []

    async def work(_: anyio.CancelScope) -> None:
        try:
            result.append(await collect())
        except ApiError as error:
            failure.append(error)

    try:
        await while_connected(request.receive, work)
    finally:
        cancel(service, answers.jobs)
    if failure:
        return failure[0].response()
    return JSONResponse(result[0]) if result else Response(status_code=499)  # nobody reads it


def stream(request: Request, service: Service, answers: Answers, chunks: AsyncIterator[Result]) -> Response:
    """The events of an answer, in the form that the request's route has."""
    form = form_of(request.scope["path"].removeprefix(request.scope.get("root_path", "")))

    async def events() -> AsyncIterator[Event]:
        try:
            async for chunk in chunks:
                yield form.event(chunk)
        except ApiError as error:
            yield form.failed(error)
        finally:
            cancel(service, answers.jobs)
        for event in form.end():
            yield event

    return EventSourceResponse(events(), ping=PING, send_timeout=SEND_TIMEOUT, sep="\n")
