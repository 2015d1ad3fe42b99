"""What requests in the form of OpenAI's Responses API may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from spectralkv.serve.bodies import AnswerLimit, AnySampling, Body, Function, FunctionName, JsonSchema, Probability


class TextItem(Body):
    type: Literal["input_text", "output_text"]
    text: str


class MessageItem(Body):
    type: Literal["message"] | None = None
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextItem]


class CallItem(Body):
    type: Literal["function_call"]
    call_id: Annotated[str, Field(max_length=1000)]
    name: Annotated[str, Field(max_length=128)]
    arguments: str


class CallOutputItem(Body):
    type: Literal["function_call_output"]
    call_id: Annotated[str, Field(max_length=1000)]
    output: str | list[TextItem]


# Items by their types; their declarations' names are no part of a place that a refusal names.
_ITEMS = {"message": "MessageItem", "function_call": "CallItem", "function_call_output": "CallOutputItem"}


def _item(given: Any) -> str | None:
    if isinstance(given, Body):
        return type(given).__name__
    kind = given.get("type") or "message" if isinstance(given, dict) else None
    return _ITEMS.get(kind) if isinstance(kind, str) else None


Item = Annotated[
    Annotated[MessageItem, Tag("MessageItem")]
    | Annotated[CallItem, Tag("CallItem")]
    | Annotated[CallOutputItem, Tag("CallOutputItem")],
    Discriminator(
        _item,
        custom_error_type="item",
        custom_error_message=f"an item is an object whose type is one of {', '.join(_ITEMS)}",
    ),
]


class FlatTool(Function):
    type: Literal["function"]


class FlatToolChoice(FunctionName):
    type: Literal["function"]


class TextFormat(JsonSchema):
    type: Literal["text", "json_object", "json_schema"]


class TextOptions(Body):
    format: TextFormat | None = None


class ResponsesBody(AnySampling):
    input: str | Annotated[list[Item], Field(min_length=1, max_length=10000)]
    instructions: str | None = None
    max_output_tokens: AnswerLimit | None = Field(None, description="-1: as many as fit")
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Probability | None = None
    text: TextOptions | None = None
    tools: Annotated[list[FlatTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FlatToolChoice | None = None
    parallel_tool_calls: bool | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = Field(None, description="told again")
    previous_response_id: str | None = Field(None, description="refused: no response is kept")
    conversation: str | dict[str, Any] | None = Field(None, description="refused: no conversation is kept")
    prompt: dict[str, Any] | None = Field(None, description="refused: no prompt is kept")
    background: bool | None = Field(None, description="true is refused: no response is kept")
