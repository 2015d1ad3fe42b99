"""What requests may say: one declaration for the checks and for the description at /openapi.json."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Token = Annotated[int, Field(ge=0, lt=2**31)]
Probability = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Number = Annotated[float, Field(ge=-1e6, le=1e6)]
Amount = Annotated[float, Field(ge=0, le=1e6)]
SamplerName = Annotated[str, Field(max_length=32)]
SamplerLetters = Annotated[str, Field(max_length=64, pattern=r"^[a-z]*$")]
Stop = Annotated[str, Field(min_length=1, max_length=1000)]
Limit = Annotated[int, Field(ge=-1, lt=2**31)]
# Of a chat's answer, which has a token at least.
AnswerLimit = Annotated[int, Field(ge=1, lt=2**31)] | Literal[-1]
NativeStop = Annotated[str, Field(max_length=1000)]
VariableName = Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_]{0,63}$")]
TokenDigits = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]


class Body(BaseModel):
    """Fields that are not known are passed over, as other servers do; numbers in quotes are no numbers."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore")


class StreamOptions(Body):
    include_usage: bool | None = None


class AnySampling(Body):
    """What all kinds of completion share: llama.cpp's names beyond OpenAI's."""

    model: str | None = Field(None, max_length=1000, description="not looked at: the server has one model")
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] | None = Field(None, description="0 and -1: all tokens")
    repeat_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    repeat_last_n: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    typical_p: Amount | None = None
    top_n_sigma: Number | None = Field(None, description="0 and less: off")
    xtc_probability: Probability | None = None
    xtc_threshold: Probability | None = None
    dynatemp_range: Amount | None = None
    dynatemp_exponent: Amount | None = None
    dry_multiplier: Amount | None = None
    dry_base: Amount | None = None
    dry_allowed_length: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    dry_penalty_last_n: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    dry_sequence_breakers: Annotated[list[Stop], Field(max_length=16)] | None = None
    mirostat: Annotated[int, Field(ge=0, le=2)] | None = None
    mirostat_tau: Amount | None = None
    mirostat_eta: Amount | None = None
    samplers: SamplerLetters | Annotated[list[SamplerName], Field(max_length=64)] | None = Field(
        None, description="the steps in their order, by name or as letters"
    )
    seed: Annotated[int, Field(ge=-1, lt=2**63)] | None = Field(None, description="-1: another one each time")
    stream: bool | None = None
    cache_prompt: bool | None = Field(None, description="start from tokens kept from other requests; true if absent")
    ignore_eos: bool | None = None
    grammar: Annotated[str, Field(max_length=1 << 20)] | None = Field(None, description="GBNF or Lark")
    id_slot: Annotated[int, Field(ge=-1, lt=2**31)] | None = Field(
        None, description="by which number /slots/{id} knows it; -1 and those beyond -np: the first that is free"
    )
    timeout: Annotated[float, Field(gt=0, le=86400)] | None = Field(None, description="seconds, then the answer ends")
    user: str | None = Field(None, max_length=1000)


class Sampling(AnySampling):
    """What OpenAI's kinds of completion share, within its bounds."""

    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Probability | None = None
    min_p: Probability | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[TokenDigits, Bias] | None = Field(None, max_length=1024)
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    n_predict: Limit | None = Field(None, description="llama-server's name of max_tokens, which goes before it")
    stream_options: StreamOptions | None = None

    def limit(self, given: int | None) -> int | None:
        """How many tokens an answer has at most, where the field for it says `given`; None: as many as fit."""
        n = self.n_predict if given is None else given
        return None if n == -1 else n


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
    max_tokens: AnswerLimit | None = Field(None, description="-1: as many as fit")
    max_completion_tokens: AnswerLimit | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None


class CompletionBody(Sampling):
    prompt: (
        str
        | Annotated[list[Token], Field(min_length=1, fail_fast=True)]
        | Annotated[list[str], Field(min_length=1, max_length=16)]
        | Annotated[
            list[Annotated[list[Token], Field(min_length=1, fail_fast=True)]], Field(min_length=1, max_length=16)
        ]
    )
    max_tokens: Limit | None = Field(None, description="-1: as many as fit; null: as many; absent: 16")
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: Literal[""] | None = Field(None, description="not supported")
    best_of: Literal[1] | None = Field(None, description="only 1 is supported")
    response_format: ResponseFormat | None = None


class ThinkingBlock(Body):
    type: Literal["thinking"]
    thinking: str


class ToolUseBlock(Body):
    type: Literal["tool_use"]
    id: str | None = None
    name: Annotated[str, Field(max_length=128)]
    input: dict[str, Any]


class ToolResultBlock(Body):
    type: Literal["tool_result"]
    tool_use_id: Annotated[str, Field(max_length=1000)]
    content: str | list[TextPart] | None = None


class Turn(Body):
    """A message in Anthropic's form."""

    role: Literal["user", "assistant"]
    content: (
        str | list[Annotated[TextPart | ThinkingBlock | ToolUseBlock | ToolResultBlock, Field(discriminator="type")]]
    )


class NamedTool(Body):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,128}$")]
    description: str | None = None
    input_schema: dict[str, Any]


class ToolKind(Body):
    type: Literal["auto", "any", "tool", "none"]
    name: Annotated[str, Field(max_length=128)] | None = None
    disable_parallel_tool_use: bool | None = None


class CountBody(Body):
    """What Anthropic's API counts the tokens of."""

    model: str | None = Field(None, max_length=1000, description="not looked at: the server has one model")
    system: str | list[TextPart] | None = None
    messages: Annotated[list[Turn], Field(min_length=1, max_length=10000)]
    tools: Annotated[list[NamedTool], Field(max_length=128)] | None = None


class MessagesBody(CountBody):
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] = 4096
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    stop_sequences: Annotated[list[Stop], Field(max_length=16)] | None = None
    stream: bool | None = None
    tool_choice: ToolKind | None = None


class PromptText(Body):
    prompt_string: str
    multimodal_data: Annotated[list[Any], Field(max_length=0)] | None = Field(None, description="models read text")


Parts = Annotated[list[Token | str], Field(min_length=1, fail_fast=True)]
NativePrompt = str | Parts | PromptText
NativeBias = Number | Literal[False]
BiasedText = Annotated[str, Field(max_length=100)]


class NativeSampling(AnySampling):
    """What llama-server's own kinds of completion share. What is out of a sampler's range switches it off there."""

    temperature: Number | None = Field(None, description="0 and less: the most probable token")
    top_p: Amount | None = None
    min_p: Annotated[float, Field(ge=-1, le=1)] | None = None
    frequency_penalty: Number | None = None
    presence_penalty: Number | None = None
    logit_bias: (
        Annotated[list[tuple[Token | BiasedText, NativeBias]], Field(max_length=1024)]
        | Annotated[dict[BiasedText, NativeBias], Field(max_length=1024)]
        | None
    ) = Field(None, description="token ids or texts; false: never")
    stop: NativeStop | Annotated[list[NativeStop], Field(max_length=64)] | None = None
    n_predict: Limit | None = Field(None, description="-1: as many as fit")
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    n_cmpl: Annotated[int, Field(ge=1, le=16)] | None = Field(None, description="answers to each prompt")
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    n_probs: Annotated[int, Field(ge=0, le=1000)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=1000)] | None = None
    post_sampling_probs: Literal[False] | None = Field(None, description="true is not supported")
    json_schema: dict[str, Any] | bool | None = None
    return_tokens: bool | None = None
    timings_per_token: bool | None = None
    response_fields: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=64)] | None = None
    t_max_predict_ms: Annotated[int, Field(ge=-1, lt=2**63)] | None = Field(
        None, description="from the first token, once there is a line break; 0 and -1: no bound"
    )
    lora: Annotated[list[Any], Field(max_length=0)] | None = Field(None, description="there are no adapters")


class NativeBody(NativeSampling):
    prompt: NativePrompt | Annotated[list[NativePrompt], Field(min_length=1, max_length=64)]


class Snippet(Body):
    filename: Annotated[str, Field(max_length=1000)] = "tmp"
    text: str


class InfillBody(NativeSampling):
    input_prefix: str
    input_suffix: str
    input_extra: Annotated[list[Snippet], Field(max_length=1000)] = []
    prompt: str = Field("", description="how the middle begins")


Texts = (
    str
    | Annotated[list[Token], Field(min_length=1, fail_fast=True)]
    | Annotated[
        list[str | Annotated[list[Token], Field(min_length=1, fail_fast=True)]],
        Field(min_length=1, max_length=256, fail_fast=True),
    ]
)
Norm = Annotated[int, Field(ge=-1, le=100)]


class OpenEmbeddingBody(Body):
    model: str | None = Field(None, max_length=1000, description="not looked at: the server has one model")
    input: Texts
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: None = Field(None, description="not supported")
    embd_normalize: Norm | None = Field(None, description="-1: not; 0: the largest number; 1, 2, ...: that norm")
    user: str | None = Field(None, max_length=1000)


class EmbeddingBody(Body):
    content: Texts | None = None
    input: Texts | None = None
    embd_normalize: Norm | None = None


class TokenizeBody(Body):
    content: str | list[Token | str]
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class DetokenizeBody(Body):
    tokens: Annotated[list[Token], Field(fail_fast=True)]


FileName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$")]


class SlotBody(Body):
    filename: FileName | None = Field(None, description="where action is save or restore")


class RestoreBody(Body):
    filename: FileName


class SaveBody(RestoreBody, Variables):
    """Names what is saved by what it begins with: a text, token ids, or a chat."""

    prompt: str | Annotated[list[Token], Field(min_length=1, fail_fast=True)] | None = None
    messages: Messages | None = None
