"""What requests may say: one declaration for the checks and for the description at /openapi.json."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Token = Annotated[int, Field(ge=0, lt=2**31)]
Probability = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Stop = Annotated[str, Field(min_length=1, max_length=1000)]
VariableName = Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_]{0,63}$")]
TokenDigits = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]


class Body(BaseModel):
    """Fields that are not known are passed over, as other servers do; numbers in quotes are no numbers."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore")


class StreamOptions(Body):
    include_usage: bool | None = None


class Sampling(Body):
    """What both kinds of completion share."""

    model: str | None = Field(None, max_length=1000, description="not looked at: the server has one model")
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Probability | None = None
    min_p: Probability | None = None
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] | None = Field(None, description="0 and -1: all tokens")
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    repeat_last_n: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    logit_bias: dict[TokenDigits, Bias] | None = Field(None, max_length=1024)
    seed: Annotated[int, Field(ge=-1, lt=2**63)] | None = Field(None, description="-1: another one each time")
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    cache_prompt: bool | None = Field(None, description="start from tokens kept from other requests; true if absent")
    ignore_eos: bool | None = None
    grammar: Annotated[str, Field(max_length=1 << 20)] | None = Field(None, description="GBNF or Lark")
    timeout: Annotated[float, Field(gt=0, le=86400)] | None = Field(None, description="seconds, then the answer ends")
    user: str | None = Field(None, max_length=1000)


class JsonSchema(Body):
    name: str | None = Field(None, max_length=1000)
    description: str | None = None
    # The alias is OpenAI's name, which pydantic's own method has.
    schema_: dict[str, Any] | bool | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema_: dict[str, Any] | bool | None = Field(None, alias="schema")


class Function(Body):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,128}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    type: Literal["function"]
    function: Function


class FunctionName(Body):
    name: Annotated[str, Field(max_length=128)]


class ToolChoice(Body):
    type: Literal["function"]
    function: FunctionName


class CalledFunction(Body):
    name: Annotated[str, Field(max_length=128)]
    arguments: str


class ToolCall(Body):
    id: str | None = None
    type: Literal["function"] | None = None
    function: CalledFunction


class TextPart(Body):
    type: Literal["text"]
    text: str


class Message(Body):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = Field(None, max_length=1000)
    tool_calls: Annotated[list[ToolCall], Field(max_length=128)] | None = None
    tool_call_id: str | None = Field(None, max_length=1000)
    reasoning_content: str | None = None


class Variables(Body):
    """What a template is given beside messages."""

    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    chat_template_kwargs: dict[VariableName, bool | int | float | str] | None = Field(
        None, max_length=16, description="further variables of the template, as enable_thinking"
    )


Messages = Annotated[list[Message], Field(min_length=1, max_length=10000)]


class Conversation(Variables):
    """What becomes a chat's prompt."""

    messages: Messages


class ChatBody(Sampling, Conversation):
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None


class CompletionBody(Sampling):
    prompt: (
        str
        | Annotated[list[Token], Field(min_length=1)]
        | Annotated[list[str], Field(min_length=1, max_length=16)]
        | Annotated[list[Annotated[list[Token], Field(min_length=1)]], Field(min_length=1, max_length=16)]
    )
    max_tokens: Annotated[int, Field(ge=0, lt=2**31)] | None = 16
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: None = Field(None, description="not supported")
    best_of: Literal[1] | None = Field(None, description="only 1 is supported")
    response_format: ResponseFormat | None = None


class TokenizeBody(Body):
    content: str
    add_special: bool = False
    parse_special: bool = True


class DetokenizeBody(Body):
    tokens: list[Token]


class RestoreBody(Body):
    filename: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_-]{0,99}$")]


class SaveBody(RestoreBody, Variables):
    """Names what is saved by what it begins with: a text, token ids, or a chat."""

    prompt: str | Annotated[list[Token], Field(min_length=1)] | None = None
    messages: Messages | None = None
