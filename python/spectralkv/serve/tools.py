"""Tool calls of a request's body; spectralkv.tool_calls has what they are."""

from __future__ import annotations

from spectralkv import tool_calls
from spectralkv.serve.bodies import ChatBody
from spectralkv.serve.errors import ApiError
from spectralkv.tool_calls import ToolText, WrongTools, form_of, message_for_template

__all__ = ["ToolText", "Tools", "form_of", "message_for_template"]


class Tools(tool_calls.Tools):
    @classmethod
    def of_body(cls, body: ChatBody, template: str) -> Tools | None:
        """None where there are none, or none may be called. ApiError for a template that knows no tools."""
        choice = body.tool_choice
        try:
            return cls.of(
                [tool.model_dump(exclude_none=True) for tool in body.tools or []],
                choice if choice is None or isinstance(choice, str) else choice.model_dump(exclude_none=True),
                template,
                parallel=body.parallel_tool_calls is not False,
            )
        except WrongTools as error:
            raise ApiError(400, error.bare, error.param) from None
