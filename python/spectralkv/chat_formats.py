"""Chat formats that are asked for by llama-cpp-python's names: templates of ours, with the texts that end a turn."""

from __future__ import annotations

from dataclasses import dataclass

_CHATML_TURNS = (
    "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\\n' ~ m.content ~ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# What was said to the model about tools is in the form that "<tool_call>" makes known (spectralkv.tool_calls).
_TOOLS = (
    "{% for tool in tools %}{{ '\\n' ~ (tool | tojson) }}{% endfor %}"
    "{{ '\\n</tools>\\nA call is written as <tool_call>\\n"
    '{"name": NAME, "arguments": ARGUMENTS}'
    "\\n</tool_call>.' }}"
)
_CHATML_TOOLS = (
    "{% set first = messages[0] %}{% set system = first.content if first.role == 'system' else '' %}"
    "{% if tools %}{{ '<|im_start|>system\\n' ~ system ~ ('\\n\\n' if system else '') }}"
    "{{ 'These functions can be called:\\n<tools>' }}" + _TOOLS + "{{ '<|im_end|>\\n' }}"
    "{% elif system %}{{ '<|im_start|>system\\n' ~ system ~ '<|im_end|>\\n' }}{% endif %}"
    "{% for m in (messages[1:] if first.role == 'system' else messages) %}"
    "{% if m.role == 'tool' or m.role == 'function' %}"
    "{{ '<|im_start|>user\\n<tool_response>\\n' ~ m.content ~ '\\n</tool_response><|im_end|>\\n' }}"
    "{% else %}{{ '<|im_start|>' ~ m.role ~ '\\n' ~ m.content }}"
    "{% for call in m.tool_calls or [] %}"
    '{{ \'<tool_call>\\n{"name": "\' ~ call.function.name ~ \'", "arguments": \' }}'
    "{{ (call.function.arguments | tojson) ~ '}\\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_SYSTEM = "{% set first = messages[0] %}{% set system = first.content if first.role == 'system' else '' %}"


def _colons(user: str, assistant: str, between: str, behind: str) -> str:
    """Turns as "NAME: text", those of users ended by `between`, those of the assistant by `behind`."""
    return (
        "{% for m in messages %}"
        f"{{% if m.role == 'user' %}}{{{{ '{user}: ' ~ m.content ~ '{between}' }}}}"
        f"{{% elif m.role == 'assistant' %}}{{{{ '{assistant}: ' ~ m.content ~ '{behind}' }}}}"
        "{% endif %}{% endfor %}"
        f"{{% if add_generation_prompt %}}{{{{ '{assistant}:' }}}}{{% endif %}}"
    )


@dataclass(frozen=True)
class ChatFormat:
    template: str
    stop: tuple[str, ...] = ()


FORMATS = {
    "chatml": ChatFormat(_CHATML_TURNS, ("<|im_end|>",)),
    "chatml-function-calling": ChatFormat(_CHATML_TOOLS, ("<|im_end|>",)),
    "qwen": ChatFormat(
        "{% if messages[0].role != 'system' %}"
        "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}" + _CHATML_TURNS,
        ("<|im_end|>", "<|endoftext|>"),
    ),
    "llama-2": ChatFormat(
        _SYSTEM + "{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}"
        "{{ '<s>[INST] ' ~ ('<<SYS>>\\n' ~ system ~ '\\n<</SYS>>\\n\\n' if loop.first and system else '') }}"
        "{{ m.content ~ ' [/INST]' }}{% else %}{{ ' ' ~ m.content ~ ' </s>' }}{% endif %}{% endfor %}",
        ("</s>",),
    ),
    "llama-3": ChatFormat(
        "{% for m in messages %}"
        "{{ '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\\n\\n' ~ m.content ~ '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
        ("<|eot_id|>",),
    ),
    "mistral-instruct": ChatFormat(
        "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' ~ m.content }}"
        "{% elif m.role == 'assistant' %}{{ ' [/INST]' ~ m.content ~ '</s>' }}{% endif %}{% endfor %}{{ ' [/INST]' }}",
        ("</s>",),
    ),
    "zephyr": ChatFormat(
        "{% for m in messages %}{{ '<|' ~ m.role ~ '|>\\n' ~ m.content ~ '</s>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
        ("</s>",),
    ),
    "vicuna": ChatFormat(
        _SYSTEM + "{{ (system or 'A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user\\'s questions.') ~ ' ' }}"
        + _colons("USER", "ASSISTANT", " ", "</s>"),
        ("</s>",),
    ),
    "alpaca": ChatFormat(
        _SYSTEM + "{{ system ~ '\\n\\n' }}" + _colons("### Instruction", "### Response", "\\n\\n", "</s>"), ("</s>",)
    ),
}


def named(name: str) -> ChatFormat:
    """ValueError for a name that is not known."""
    if name not in FORMATS:
        raise ValueError(
            f"[chat] chat_format '{name}' is not supported; there are {', '.join(FORMATS)}, and without one the "
            "model's own template; a chat_handler makes any other"
        )
    return FORMATS[name]
