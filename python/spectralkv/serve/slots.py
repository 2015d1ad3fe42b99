"""The routes /slots: what runs, and kept sequences that are saved to and restored from the operator's folder."""

from __future__ import annotations

import os

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from spectralkv.serve.bodies import RestoreBody, SaveBody
from spectralkv.serve.completions import read_body, service_of
from spectralkv.serve.errors import ApiError, bare
from spectralkv.serve.service import Service
from spectralkv.serve.worker import Busy


async def slots(request: Request) -> Response:
    service = service_of(request)
    if request.query_params.get("fail_on_no_slot") and len(service.worker.jobs) >= service.options.n_parallel:
        raise ApiError(503, "as many requests run as may (-np)", code="no_slot")
    return JSONResponse(service.slots())


def _path(service: Service, name: str) -> str:
    """A file of the folder: the name has been checked to be one, and not a path."""
    if service.options.slot_folder is None:
        raise ApiError(403, "the server was started without --slot-save-path: slots cannot be saved")
    return os.path.join(service.options.slot_folder, f"{name}.state")


async def save(request: Request) -> Response:
    body, service = await read_body(request, SaveBody), service_of(request)
    path = _path(service, body.filename)
    if (body.prompt is None) == (body.messages is None):
        raise ApiError(400, "either prompt or messages says what is to be saved", "prompt")
    prompt = await service.render(body, None) if body.prompt is None else body.prompt
    tokens = await service.encode(prompt, "prompt")
    try:
        n = await service.worker.call(lambda: service.worker.scheduler.save(tokens, path))
    except OSError as error:
        raise ApiError(507, f"it could not be written: {error.strerror or 'the disk refuses'}") from None
    except Busy as error:
        raise ApiError(503, str(error)) from None
    if n == 0:
        raise ApiError(404, "nothing that begins so is kept", "prompt")
    return JSONResponse({"filename": body.filename, "n_saved": n, "n_written": os.path.getsize(path)})


async def restore(request: Request) -> Response:
    body, service = await read_body(request, RestoreBody), service_of(request)
    path = _path(service, body.filename)
    try:
        tokens = await service.worker.call(lambda: service.worker.scheduler.load(path))
    except OSError:
        raise ApiError(404, "there is no file of this name", "filename") from None
    except ValueError as error:
        raise ApiError(400, bare(error).replace(path, body.filename), "filename") from None
    except Busy as error:
        raise ApiError(503, str(error)) from None
    return JSONResponse({"filename": body.filename, "n_restored": len(tokens), "n_read": os.path.getsize(path)})
