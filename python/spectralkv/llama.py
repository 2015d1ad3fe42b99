"""The class Llama: completions, chats and embeddings, used as llama-cpp-python's class of that name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectralkv.arguments import stops, string, token_ids, whole
from spectralkv.chat import Message, encode, format_chat
from spectralkv.completion import Calls, Result, complete, complete_chat, stream_chat
from spectralkv.completion import stream as stream_text
from spectralkv.generating import Generating, Stop
from spectralkv.grammar import LlamaGrammar, as_grammar, of_response_format
from spectralkv.hooks import shape_of
from spectralkv.infill import infill_prompt
from spectralkv.logprobs import Echo
from spectralkv.tokenizers import LlamaTokenizer
from spectralkv.tool_calls import Tools, as_list, plain_messages

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from spectralkv.hooks import LogitsProcessorList, StoppingCriteriaList
    from spectralkv.sampling import Samplers


class Llama(Generating):
    """A model and its context.

    model_path: a GGUF file. n_gpu_layers: 0 for the CPU, below 0 for everything on CUDA. seed: of the calls that give
    none; None, -1 and 4294967295 draw one. n_ctx: tokens that fit, 0 for the model's own context. n_batch, n_ubatch:
    tokens in one forward pass, the smaller counts. n_threads: None for one a core. logits_all: keep
    the logits of every token for `scores`. type_k, type_v: how keys and values are cached: "eoptshrinkq:2" (None, the
    default), "turboquant:3", "q8_0", or "f16" for an exact cache; also GGML's numbers. activations: what quantised
    weights are multiplied with, "q8_0" for 8 bits or "f32", exact and slow. allow_unknown_pre: go on with gpt-2's
    pre-tokenizer when the file names one that is not known. vocab_only: load the tokenizer alone, of a file whose
    weights may be missing or not supported; what needs the model then raises ValueError. chat_format: a format by its
    name in the place of the model's template; chat_handler: a function that answers chats; tokenizer: an object that
    makes the tokens of prompts. verbose: print model and cache on stderr. The others are llama-cpp-python's:
    docs/llama-cpp-python.md says what each is here.

    Safe to use from several threads: calls wait for each other, and a stream or `generate` that another call interrupts
    raises RuntimeError at its next token. Raises FileNotFoundError, OSError, MemoryError, ValueError for a file that
    is damaged or not supported and for arguments out of range, and TypeError for those of the wrong type. A forked
    child may go on with it, unless another thread was using it at that moment: its calls then raise ValueError.
    Pickled, it is its arguments: what is unpickled loads the file again.
    """

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str,
        filename: str | None = None,
        additional_files: Sequence[str] | None = None,
        local_dir: str | os.PathLike[str] | None = None,
        local_dir_use_symlinks: bool | str = "auto",
        cache_dir: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> Llama:
        """Loads a model of the Hugging Face Hub, which huggingface_hub (the extra "hub") fetches unless it is there.

        filename: the file, or a pattern as fnmatch has it that finds one model, split or not ("*q8_0.gguf"); None:
        that of Q4_K_M, or else the only one. additional_files: patterns of files to fetch as well. local_dir,
        cache_dir: where to, as huggingface_hub has them; local_dir_use_symlinks means nothing, there are none any more.
        kwargs: those of Llama. PullError when the file cannot be had."""
        from spectralkv.fetch.hub import fetch_pattern

        inspect.signature(cls).bind("", **kwargs)  # a wrong one is told before anything is fetched
        path = fetch_pattern(
            repo_id,
            filename,
            additional_files or (),
            None if local_dir is None else os.fspath(local_dir),
            None if cache_dir is None else os.fspath(cache_dir),
        )
        return cls(path, **kwargs)

    # ---- completions

    def _encode_prompt(self, text: str) -> list[int]:
        data = text.encode("utf-8", "surrogateescape")
        return self._tokenizer.encode_prompt(data) if self.tokenizer_ is None else self.tokenize(data, True, True)

    def _infill(self, prompt: str | Sequence[int], suffix: Any) -> list[int]:
        if isinstance(prompt, str):
            prefix = self.tokenize(prompt.encode("utf-8", "surrogateescape"), False, False) if prompt else []
        else:
            prefix = token_ids("prompt", prompt)
        return infill_prompt(
            self.metadata,
            self._tokenizer,
            lambda text: self.tokenize(text, False, False),
            prefix,
            string("suffix", suffix),
            self.spm_infill,
        )

    def create_completion(
        self,
        prompt: str | Sequence[int],
        suffix: str | None = None,
        max_tokens: int | None = 16,
        temperature: float = 0.8,
        top_p: float = 0.95,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        logprobs: int | None = None,
        echo: bool = False,
        stop: Stop = None,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        repeat_penalty: float = 1.0,
        top_k: int = 40,
        stream: bool = False,
        seed: int | None = None,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        model: str | None = None,
        stopping_criteria: StoppingCriteriaList | None = None,
        logits_processor: LogitsProcessorList | None = None,
        grammar: LlamaGrammar | str | None = None,
        logit_bias: Mapping[int, float] | None = None,
        **more: Unpack[Samplers],
    ) -> Result | Iterator[Result]:
        """Continues a text, or token ids, and gives OpenAI's completion dict; with stream=True, an iterator of chunks.

        suffix: the text that comes behind, for models with infill tokens. max_tokens: None or <= 0 goes on until an end
        token or the end of the context (finish_reason "length"). stop: texts that end it and are not given out.
        logprobs: that many alternatives with natural-log probabilities; together with echo it needs logits_all=True.
        logits_processor: functions of tokens and logits that give the logits to draw from; stopping_criteria: those
        that say before a draw whether to stop. grammar: what the continuation must be (docs/constrained.md; the extra
        "grammar"). samplers: what docs/llama-cpp-python.md lists beside these. ValueError for a prompt that does not
        fit, options out of range and a grammar that is wrong.
        """
        sampling = self._sampling(locals())
        shape = shape_of(logits_processor, stopping_criteria)
        if isinstance(prompt, str):
            tokens = self._encode_prompt(prompt)
            text = Echo(prompt.encode("utf-8", "surrogateescape"), "surrogateescape", special=True)
        else:
            given = token_ids("prompt", prompt)
            tokens = given or self._tokenizer.encode_prompt(b"")
            text = Echo(self.detokenize(given), "replace", special=False)
        if suffix is not None:
            tokens = self._infill(prompt, suffix)
        n_top = None if logprobs is None else whole("logprobs", logprobs, 0, self.n_vocab())
        if echo and logprobs is not None:
            if not self._logits_all:
                raise ValueError("[python] echo together with logprobs needs Llama(..., logits_all=True)")
            if suffix is not None:
                raise ValueError("[python] echo together with logprobs is not supported with a suffix")
        name = model or self.model_path
        with self._guard():
            run = self._start(
                tokens,
                sampling,
                max_tokens=max_tokens,
                stop=stop,
                n_top=n_top,
                grammar=as_grammar(grammar),
                prompt=text,
                echo=echo,
                shape=shape,
            )
            return stream_text(run, name) if stream else complete(run, name)

    __call__ = create_completion

    # ---- chats

    def _chat_prompt(
        self, messages: Sequence[Message], tools: Tools | None, template: str, parse_special: bool
    ) -> list[int]:
        variables: dict[str, Any] | None = None
        if tools is not None:
            variables = {"tools": tools.for_template()}
        if isinstance(messages, Sequence) and not isinstance(messages, (str, bytes)):
            messages = plain_messages(messages)
        bos, eos = self._piece(self.token_bos()), self._piece(self.token_eos())
        if parse_special or self.tokenizer_ is not None:
            return self._encode_prompt(format_chat(template, messages, True, bos, eos, variables))
        marked = format_chat(template, messages, True, bos, eos, variables, tokenizer=self._tokenizer)
        return encode(self._tokenizer, marked)

    def create_chat_completion(
        self,
        messages: Sequence[Message],
        functions: Sequence[Mapping[str, Any]] | None = None,
        function_call: str | Mapping[str, Any] | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        temperature: float = 0.2,
        top_p: float = 0.95,
        top_k: int = 40,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        stream: bool = False,
        stop: Stop = None,
        seed: int | None = None,
        response_format: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        repeat_penalty: float = 1.0,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        model: str | None = None,
        logits_processor: LogitsProcessorList | None = None,
        grammar: LlamaGrammar | str | None = None,
        logit_bias: Mapping[int, float] | None = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
        *,
        parse_special: bool = False,
        chat_template: str | None = None,
        **more: Unpack[Samplers],
    ) -> Result | Iterator[Result]:
        """Answers a chat, [{"role": ..., "content": ...}, ...], through the model's own template, the format that
        `chat_format` named, or the chat_handler; gives OpenAI's chat completion dict or, with stream=True, an iterator
        of chunks. Arguments as create_completion's; logprobs=True gives log-probabilities with top_logprobs
        alternatives; response_format: {"type": "json_object"}, with "schema" where there is one, or OpenAI's
        "json_schema"; tools: what the model may call, tool_choice: "auto", "none", "required" or
        {"type": "function", "function": {"name": ...}} (functions and function_call: the same in its older form). A
        call that must come needs the extra "grammar". parse_special: control tokens that messages write out count; by
        default they are plain text. chat_template: a Jinja source in place of the model's. ValueError for messages
        that the template refuses, and for tools where it knows none."""
        scope = dict(locals())
        if self.chat_handler is not None:
            ours = ("parse_special", "chat_template")  # which handlers of others do not know
            given = {name: value for name, value in scope.items() if name not in ("self", "more", *ours)}
            answer: Result | Iterator[Result] = self.chat_handler(llama=self, **given, **more)
            return answer
        sampling = self._sampling(locals())
        with self._guard():
            template = self._engine.chat_template if self._chat is None else self._chat.template
        if chat_template is not None:
            template = chat_template
        if functions is not None and tools is not None:
            raise ValueError("[python] tools and functions are the same: give one of them")
        if functions is not None:
            tools = [{"type": "function", "function": function} for function in as_list("functions", functions)]
        if isinstance(function_call, Mapping):
            tool_choice = {"type": "function", "function": function_call}
        elif function_call is not None:
            tool_choice = function_call
        offered = Tools.of(tools, tool_choice, template)
        tokens = self._chat_prompt(messages, offered, template, parse_special)
        name = model or self.model_path
        forced = None if offered is None else offered.grammar(self._tokenizer)
        rules = forced or as_grammar(grammar) or of_response_format(response_format)
        n_top = whole("top_logprobs", 0 if top_logprobs is None else top_logprobs, 0, self.n_vocab())
        calls = None if offered is None else Calls(offered, functions is not None)
        with self._guard():
            run = self._start(
                tokens,
                sampling,
                max_tokens=max_tokens,
                stop=[*stops(stop), *(self._chat.stop if self._chat is not None else ())],
                n_top=n_top if logprobs else None,
                grammar=rules,
                shape=shape_of(logits_processor, None),
                render_special=offered is not None and offered.form.renders_special,
            )
            run.strip = self._tokenizer.strips_answers
            return stream_chat(run, name, calls) if stream else complete_chat(run, name, calls)

    def create_chat_completion_openai_v1(self, *args: Any, **kwargs: Any) -> Any:
        """create_chat_completion with results as the objects of the package openai (ChatCompletion, or an iterator of
        ChatCompletionChunk)."""
        try:
            from openai.types.chat import ChatCompletion, ChatCompletionChunk
        except ImportError as error:
            raise ImportError("[python] create_chat_completion_openai_v1 needs openai: pip install openai") from error
        result = self.create_chat_completion(*args, **kwargs)
        if isinstance(result, dict):
            return ChatCompletion(**result)
        return (ChatCompletionChunk(**chunk) for chunk in result)

    # ---- other

    def tokenizer(self) -> LlamaTokenizer:
        """The tokenizer as an object."""
        return LlamaTokenizer(self)

    @staticmethod
    def logits_to_logprobs(logits: Any, axis: int = -1) -> NDArray[np.single]:
        """Natural-log probabilities of logits."""
        values = np.asarray(logits, dtype=np.float64)
        values = values - values.max(axis=axis, keepdims=True)
        out: NDArray[np.single] = (values - np.log(np.exp(values).sum(axis=axis, keepdims=True))).astype(np.single)
        return out

    def _piece(self, token: int) -> str:
        return self._tokenizer.piece(token, True).decode("utf-8", errors="replace") if token >= 0 else ""
