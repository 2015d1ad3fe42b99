"""The class Llama: completions and chats, used as llama-cpp-python's class of that name."""

from __future__ import annotations

import inspect
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from spectralkv import _core
from spectralkv.arguments import INT32, biases, real, stops, token_ids, whole
from spectralkv.chat import Message, encode, format_chat
from spectralkv.completion import Result, Run, complete, complete_chat, stream_chat
from spectralkv.completion import stream as stream_text
from spectralkv.context import Context
from spectralkv.grammar import LlamaGrammar, Vocabulary, as_grammar, of_response_format
from spectralkv.logprobs import Echo, Recorder, add_prompt


class Llama(Context):
    """A model and its context.

    model_path: a GGUF file. n_gpu_layers: 0 for the CPU, below 0 for everything on CUDA. seed: of the calls that give
    none; None or -1 draws one. n_ctx: tokens that fit, 0 for the model's own context. n_batch: tokens in one forward
    pass. n_threads: None for all processors of the process. logits_all: keep the logits of every token for `scores`.
    type_k, type_v: how keys and values are cached: "eoptshrinkq:2" (the default), "turboquant:3", "q8_0", or "f16" for
    an exact cache. activations: what quantised weights are multiplied with, "q8_0" for 8 bits or "f32", exact and slow.
    allow_unknown_pre: go on with gpt-2's pre-tokenizer when the file names one that is not known. vocab_only: load the
    tokenizer alone, of a file whose weights may be missing or not supported; what needs the model then raises
    ValueError. verbose: print model and cache on stderr.

    Safe to use from several threads: calls wait for each other, and a stream or `generate` that another call interrupts
    raises RuntimeError at its next token. Raises FileNotFoundError, OSError, MemoryError, ValueError for a file that
    is damaged or not supported and for arguments out of range, and TypeError for those of the wrong type. A forked
    child may go on with it, unless another thread was using it at that moment: its calls then raise ValueError.
    """

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str,
        filename: str | None = None,
        *,
        additional_files: Sequence[str] | None = None,
        local_dir: str | os.PathLike[str] | None = None,
        local_dir_use_symlinks: bool | str = "auto",
        cache_dir: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> Llama:
        """Loads a model of the Hugging Face Hub, which huggingface_hub (the extra "hub") fetches unless it is there.

        filename: the file, or a pattern as fnmatch has it that finds one model, split or not ("*q8_0.gguf"); None:
        that of Q4_K_M, or else the only one. additional_files: patterns of files to fetch as well. local_dir,
        cache_dir: where to, as huggingface_hub has them; local_dir_use_symlinks means nothing, there are none any more.
        options: those of Llama. PullError when the file cannot be had."""
        from spectralkv.fetch.hub import fetch_pattern

        inspect.signature(cls).bind("", **options)  # a wrong one is told before anything is fetched
        path = fetch_pattern(
            repo_id,
            filename,
            additional_files or (),
            None if local_dir is None else os.fspath(local_dir),
            None if cache_dir is None else os.fspath(cache_dir),
        )
        return cls(path, **options)

    def _sampling(
        self,
        seed: int | None,
        logit_bias: Mapping[Any, float] | None,
        *,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        repeat_penalty: float,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
    ) -> _core.SamplingOptions:
        if seed is None:
            seed = self._seeds.getrandbits(32)
        elif (seed := whole("seed", seed, -1, 2**64 - 1)) == -1:
            seed = random.SystemRandom().getrandbits(32)
        return _core.SamplingOptions(
            temperature=real("temperature", temperature),
            top_k=whole("top_k", top_k, -INT32, INT32),
            top_p=real("top_p", top_p),
            min_p=real("min_p", min_p),
            repeat_penalty=real("repeat_penalty", repeat_penalty),
            seed=seed,
            logit_bias=biases(logit_bias),
            frequency_penalty=real("frequency_penalty", frequency_penalty),
            presence_penalty=real("presence_penalty", presence_penalty),
        )

    def generate(
        self,
        tokens: Sequence[int],
        *,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        temp: float = 0.8,
        repeat_penalty: float = 1.0,
        seed: int | None = None,
        logit_bias: Mapping[int, float] | None = None,
        reset: bool = True,
    ) -> Iterator[int]:
        """Token ids that follow `tokens`, past end tokens, until the context is full. reset=False appends `tokens` to
        the context instead of replacing it."""
        sampling = self._sampling(
            seed,
            logit_bias,
            temperature=temp,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repeat_penalty=repeat_penalty,
        )
        with self._guard():
            ids = token_ids("tokens", tokens)
            self._read(ids if reset else [*self._session.tokens, *ids])
            generation = _core.Generation(self._session, sampling, ignore_end_tokens=True)
        return self._steps(generation)

    def _steps(self, generation: _core.Generation) -> Iterator[int]:
        while True:
            with self._guard():
                step = generation.next()
            if step is None:
                return
            yield step.token

    def _start(
        self,
        tokens: Sequence[int],
        sampling: _core.SamplingOptions,
        *,
        max_tokens: int | None,
        stop: str | Sequence[str] | None,
        n_top: int | None,
        grammar: LlamaGrammar | None = None,
        echo: Echo | None = None,
    ) -> Run:
        """Reads the prompt and begins a generation; n_top: alternatives with log-probabilities, echo: text in front."""
        texts, most = stops(stop), -1 if max_tokens is None else whole("max_tokens", max_tokens)
        masks = None if grammar is None else self._grammar_vocabulary.masks(grammar)
        self._read(tokens)
        recorder = None
        if n_top is not None:
            recorder = Recorder(self._tokenizer)
            if echo is not None:
                add_prompt(recorder, tokens, self.scores, n_top, echo)
        generation = _core.Generation(
            self._session,
            sampling,
            max_tokens=most if most > 0 else -1,
            stop=texts,
            top_logprobs=-1 if n_top is None else n_top,
            allowed=masks,
        )
        return Run(generation, self._tokenizer, self._guard, len(tokens), recorder, echo.text if echo else "")

    def create_completion(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int | None = 16,
        temperature: float = 0.8,
        top_p: float = 0.95,
        min_p: float = 0.05,
        logprobs: int | None = None,
        echo: bool = False,
        stop: str | Sequence[str] | None = None,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        repeat_penalty: float = 1.0,
        top_k: int = 40,
        stream: bool = False,
        seed: int | None = None,
        logit_bias: Mapping[int, float] | None = None,
        grammar: LlamaGrammar | str | None = None,
        model: str | None = None,
    ) -> Result | Iterator[Result]:
        """Continues a text, or token ids, and gives OpenAI's completion dict; with stream=True, an iterator of chunks.

        max_tokens: None or <= 0 goes on until an end token or the end of the context (finish_reason "length"). stop:
        texts that end it and are not given out. logprobs: that many alternatives with natural-log probabilities;
        together with echo it needs logits_all=True. grammar: what the continuation must be (docs/constrained.md; the
        extra "grammar"). ValueError for a prompt that does not fit, options out of range and a grammar that is wrong.
        """
        sampling = self._sampling(
            seed,
            logit_bias,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repeat_penalty=repeat_penalty,
            frequency_penalty=frequency_penalty,
            presence_penalty=presence_penalty,
        )
        if isinstance(prompt, str):
            data = prompt.encode("utf-8", "surrogateescape")
            tokens = self._tokenizer.encode_prompt(data)
            text = Echo(data, "surrogateescape", special=True)
        else:
            given = token_ids("prompt", prompt)
            tokens = given or self._tokenizer.encode_prompt(b"")
            text = Echo(self.detokenize(given), "replace", special=False)
        n_top = None if logprobs is None else whole("logprobs", logprobs, 0, self.n_vocab())
        if echo and logprobs is not None and not self._logits_all:
            raise ValueError("[python] echo together with logprobs needs Llama(..., logits_all=True)")
        name = model or self.model_path
        with self._guard():
            run = self._start(
                tokens,
                sampling,
                max_tokens=max_tokens,
                stop=stop,
                n_top=n_top,
                grammar=as_grammar(grammar),
                echo=text if echo else None,
            )
            return stream_text(run, name) if stream else complete(run, name)

    __call__ = create_completion

    def create_chat_completion(
        self,
        messages: Sequence[Message],
        *,
        temperature: float = 0.2,
        top_p: float = 0.95,
        top_k: int = 40,
        min_p: float = 0.05,
        stream: bool = False,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        max_tokens: int | None = None,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        repeat_penalty: float = 1.0,
        logit_bias: Mapping[int, float] | None = None,
        logprobs: bool = False,
        top_logprobs: int | None = None,
        response_format: Mapping[str, Any] | None = None,
        grammar: LlamaGrammar | str | None = None,
        model: str | None = None,
        parse_special: bool = False,
        chat_template: str | None = None,
    ) -> Result | Iterator[Result]:
        """Answers a chat, [{"role": ..., "content": ...}, ...], through the model's own template; gives OpenAI's chat
        completion dict or, with stream=True, an iterator of chunks. Arguments as create_completion's; logprobs=True
        gives log-probabilities with top_logprobs alternatives; response_format: {"type": "json_object"}, with "schema"
        where there is one, or OpenAI's "json_schema". parse_special: control tokens that messages write out count; by
        default they are plain text. chat_template: a Jinja source in place of the model's. ValueError for messages
        that the template refuses."""
        sampling = self._sampling(
            seed,
            logit_bias,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repeat_penalty=repeat_penalty,
            frequency_penalty=frequency_penalty,
            presence_penalty=presence_penalty,
        )
        with self._guard():
            template = self._engine.chat_template if chat_template is None else chat_template
        bos, eos = self._piece(self.token_bos()), self._piece(self.token_eos())
        tokenizer = None if parse_special else self._tokenizer
        tokens = encode(self._tokenizer, format_chat(template, messages, True, bos, eos, tokenizer=tokenizer))
        name = model or self.model_path
        rules = as_grammar(grammar) or of_response_format(response_format)
        n_top = whole("top_logprobs", 0 if top_logprobs is None else top_logprobs, 0, self.n_vocab())
        with self._guard():
            run = self._start(
                tokens, sampling, max_tokens=max_tokens, stop=stop, n_top=n_top if logprobs else None, grammar=rules
            )
            run.strip = self._tokenizer.strips_answers
            return stream_chat(run, name) if stream else complete_chat(run, name)

    @cached_property
    def _grammar_vocabulary(self) -> Vocabulary:
        return Vocabulary(self._tokenizer)

    def _piece(self, token: int) -> str:
        return self._tokenizer.piece(token, True).decode("utf-8", errors="replace") if token >= 0 else ""
