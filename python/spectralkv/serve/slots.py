"""The routes /slots: what runs, and what was read, saved to and restored from the operator's folder."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Sequence
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from spectralkv.serve.bodies import RestoreBody, SaveBody, SlotBody
from spectralkv.serve.clients import while_connected
from spectralkv.serve.completions import read_body, service_of
from spectralkv.serve.errors import ApiError, bare
from spectralkv.serve.service import Service
from spectralkv.serve.worker import Busy

ACTIONS = ("save", "restore", "erase")


async def slots(request: Request) -> Response:
    service = service_of(request)
    if request.query_params.get("fail_on_no_slot") and len(service.worker.jobs) >= service.options.n_parallel:
        raise ApiError(503, "as many requests run as may (-np)", code="no_slot")
    return JSONResponse(service.slots())


def _folder(service: Service) -> str:
    if service.options.slot_folder is None:
        raise ApiError(403, "the server was started without --slot-save-path: slots cannot be saved")
    return service.options.slot_folder


def _path(service: Service, name: str) -> str:
    """A file of the folder: the name has been checked to be one, and not a path."""
    return os.path.join(_folder(service), f"{name}.state")


async def _saved(service: Service, tokens: Sequence[int], name: str, param: str) -> dict[str, Any]:
    """Writes what is kept of the tokens. param: the part of the request that says which these are."""
    path = _path(service, name)
    try:
        n = await service.worker.call(lambda: service.worker.scheduler.save(tokens, path))
    except OSError as error:
        raise ApiError(507, f"it could not be written: {error.strerror or 'the disk refuses'}") from None
    except Busy as error:
        raise ApiError(503, str(error)) from None
    if n == 0:
        raise ApiError(404, "nothing that begins so is kept", param)
    return {"filename": name, "n_saved": n, "n_written": os.path.getsize(path)}


async def _restored(service: Service, name: str) -> tuple[list[int], dict[str, Any]]:
    """The tokens of a file, which are kept again."""
    path = _path(service, name)
    try:
        tokens = await service.worker.call(lambda: service.worker.scheduler.load(path))
    except FileNotFoundError:
        raise ApiError(404, "there is no file of this name", "filename") from None
    except ValueError as error:
        raise ApiError(400, bare(error).replace(path, name), "filename") from None
    except OSError as error:
        status = 400 if os.path.isfile(path) and os.path.getsize(path) == 0 else 500
        raise ApiError(status, bare(error).replace(path, name), "filename") from None
    except Busy as error:
        raise ApiError(503, str(error)) from None
    return tokens, {"filename": name, "n_restored": len(tokens), "n_read": os.path.getsize(path)}


async def save(request: Request) -> Response:
    body, service = await read_body(request, SaveBody), service_of(request)
    _folder(service)
    if (body.prompt is None) == (body.messages is None):
        raise ApiError(400, "either prompt or messages says what is to be saved", "prompt")
    prompt = await service.render(body, None) if body.prompt is None else body.prompt
    return JSONResponse(await _saved(service, await service.encode(prompt, "prompt"), body.filename, "prompt"))


async def restore(request: Request) -> Response:
    body = await read_body(request, RestoreBody)
    return JSONResponse((await _restored(service_of(request), body.filename))[1])


def _since(started: float) -> float:
    """Milliseconds."""
    return (time.perf_counter() - started) * 1000


async def _save_slot(request: Request, service: Service, number: int, name: str) -> Response:
    """What the slot has now, once the requests that are writing it have ended; nothing for a client that goes away."""
    worker = service.worker
    tokens, writers = worker.slots[number], worker.running(number)
    answers: list[Response] = []

    async def work(_: anyio.CancelScope) -> None:
        await worker.ended(writers)
        started = time.perf_counter()
        try:
            told = await _saved(service, list(tokens), name, "id")
            answers.append(JSONResponse({"id_slot": number, **told, "timings": {"save_ms": _since(started)}}))
        except ApiError as error:
            answers.append(error.response())

    await while_connected(request.receive, work)
    return answers[0] if answers else Response(status_code=499)


async def slot(request: Request) -> Response:
    """llama-server's: what the last request of a slot has read and written."""
    service, held = service_of(request), service_of(request).worker.slots
    _folder(service)
    given, action = request.path_params["id"], request.query_params.get("action")
    if not (given.isascii() and given.isdecimal() and len(given) <= 9 and int(given) < len(held)):
        raise ApiError(400, f"there is no such slot: they are 0 to {len(held) - 1} (-np)", "id")
    if action not in ACTIONS:
        raise ApiError(400, f"action must be one of {', '.join(ACTIONS)}", "action")
    number = int(given)
    if action == "erase":
        n, held[number] = len(held[number]), array("i")
        return JSONResponse({"id_slot": number, "n_erased": n})
    name = (await read_body(request, SlotBody)).filename
    if name is None:
        raise ApiError(400, f"filename: where it is to {action}", "filename")
    if action == "save":
        return await _save_slot(request, service, number, name)
    started = time.perf_counter()
    tokens, told = await _restored(service, name)
    held[number] = array("i", tokens)
    return JSONResponse({"id_slot": number, **told, "timings": {"restore_ms": _since(started)}})
