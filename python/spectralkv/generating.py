"""A context that generates: tokens one by one, beginnings of completions, embeddings. Llama makes results of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectralkv import _core
from spectralkv.arguments import stops, token_ids, whole
from spectralkv.completion import Result, Run
from spectralkv.context import Context
from spectralkv.embeddings import embeddings_of
from spectralkv.grammar import LlamaGrammar, Vocabulary, as_grammar
from spectralkv.hooks import Shape, Stopped, shape_of
from spectralkv.logprobs import Echo, Recorder, add_prompt
from spectralkv.sampling import sampling_options
from spectralkv.states import BaseLlamaCache, longest_token_prefix

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from spectralkv.hooks import LogitsProcessorList, StoppingCriteriaList
    from spectralkv.sampling import Samplers

Stop = str | Sequence[str] | None


class Generating(Context):
    """What Llama is made of; its arguments are Llama's."""

    cache: BaseLlamaCache | None = None

    # ---- tokens one by one

    def _sampling(self, scope: Mapping[str, Any]) -> _core.SamplingOptions:
        """scope: the arguments of a method, of which those of sampling are taken."""
        return sampling_options(self._seeds, self.last_n_tokens_size, scope)

    def generate(
        self,
        tokens: Sequence[int],
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        temp: float = 0.8,
        repeat_penalty: float = 1.0,
        reset: bool = True,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        penalize_nl: bool = True,
        logits_processor: LogitsProcessorList | None = None,
        stopping_criteria: StoppingCriteriaList | None = None,
        grammar: LlamaGrammar | str | None = None,
        *,
        seed: int | None = None,
        logit_bias: Mapping[int, float] | None = None,
        **more: Unpack[Samplers],
    ) -> Generator[int, Sequence[int] | None, None]:
        """Token ids that follow `tokens`, past end tokens, until the context is full, a stopping criterion is met or
        the grammar is at its end. reset=False appends `tokens` to the context instead of replacing it. What is sent
        into it, token ids, is read behind the token that was given last."""
        sampling = self._sampling(locals())
        shape, rules = shape_of(logits_processor, stopping_criteria), as_grammar(grammar)
        masks = None if rules is None else self._grammar_vocabulary.masks(rules)

        def begin() -> _core.Generation:
            return _core.Generation(
                self._session, sampling, ignore_end_tokens=masks is None, allowed=masks, shape=shape
            )

        with self._guard():
            ids = token_ids("tokens", tokens)
            self._read(ids if reset else [*self._session.tokens, *ids])
            generation = begin()
        return self._steps(generation, begin)

    def _steps(
        self, generation: _core.Generation, begin: Callable[[], _core.Generation]
    ) -> Generator[int, Sequence[int] | None, None]:
        while True:
            with self._guard():
                try:
                    step = generation.next()
                except Stopped:
                    return
            if step is None:
                return
            more = yield step.token
            if more:
                with self._guard():
                    self._session.eval([step.token, *token_ids("what is sent", more)])
                    generation = begin()

    def sample(
        self,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        temp: float = 0.8,
        repeat_penalty: float = 1.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_eta: float = 0.1,
        mirostat_tau: float = 5.0,
        penalize_nl: bool = True,
        logits_processor: LogitsProcessorList | None = None,
        grammar: LlamaGrammar | str | None = None,
        idx: int | None = None,
        *,
        seed: int | None = None,
        logit_bias: Mapping[int, float] | None = None,
        **more: Unpack[Samplers],
    ) -> int:
        """A token drawn from the logits after the last one, or after token number idx, which needs logits_all=True.
        The context stays as it is."""
        sampling = self._sampling(locals())
        rules = as_grammar(grammar)
        masks = None if rules is None else self._grammar_vocabulary.masks(rules)
        with self._guard():
            shape = shape_of(logits_processor, None)
            if idx is not None:
                shape = self._shape_at(whole("idx", idx, 0, max(len(self._session.tokens) - 1, 0)), shape)
            generation = _core.Generation(
                self._session, sampling, max_tokens=1, ignore_end_tokens=True, allowed=masks, shape=shape
            )
            step = generation.next()
        assert step is not None
        return step.token

    def _shape_at(self, idx: int, shape: Shape | None) -> Shape:
        """The same as `shape`, of the logits after another token than the last."""
        row = np.ascontiguousarray(self.scores[idx])

        def shape_row(input_ids: NDArray[np.intc], scores: NDArray[np.single]) -> NDArray[np.single]:
            return row if shape is None else shape(input_ids[: idx + 1], row.copy())

        return shape_row

    # ---- beginnings of completions

    def set_cache(self, cache: BaseLlamaCache | None) -> None:
        """Keeps what completions have read in a cache, LlamaRAMCache or LlamaDiskCache: a prompt that begins as one of
        them goes on from there."""
        self.cache = cache

    def _read_prompt(self, tokens: Sequence[int]) -> None:
        """`_read`, from the state of the cache that shares most where it shares more than the context does."""
        if self.cache is None:
            self._read(tokens)
            return
        ids = token_ids("tokens", tokens)
        held = self._session.tokens
        try:
            state = self.cache[ids]
        except KeyError:
            state = None
        if state is not None:
            theirs, ours = longest_token_prefix(state.input_ids.tolist(), ids), longest_token_prefix(held, ids)
            whole_prompt = theirs == len(ids) == state.n_tokens and ids != held
            if theirs > ours or whole_prompt:
                try:
                    self.load_state(state)
                except ValueError:  # of another model or cache type: a cache on disk has those of all
                    state = None
        if self._read(ids) > 0:
            self._keep()

    def _keep(self) -> None:
        if self.cache is not None:
            self.cache[self._session.tokens] = self.save_state()

    def _start(
        self,
        tokens: Sequence[int],
        sampling: _core.SamplingOptions,
        *,
        max_tokens: int | None,
        stop: Stop,
        n_top: int | None,
        grammar: LlamaGrammar | None = None,
        prompt: Echo | None = None,
        echo: bool = False,
        shape: Shape | None = None,
        render_special: bool = False,
    ) -> Run:
        """Reads the prompt and begins a generation; n_top: alternatives with log-probabilities; prompt: the text in
        front, which the places of tokens count, and which is given out with echo."""
        texts, most = stops(stop), -1 if max_tokens is None else whole("max_tokens", max_tokens)
        masks = None if grammar is None else self._grammar_vocabulary.masks(grammar)
        self._read_prompt(tokens)
        recorder, start = None, len(prompt.text) if prompt is not None else 0
        if n_top is not None:
            recorder = Recorder(self._tokenizer, start)
            if prompt is not None and echo:
                add_prompt(recorder, tokens, self.scores, n_top, prompt)
        generation = _core.Generation(
            self._session,
            sampling,
            max_tokens=most if most > 0 else -1,
            stop=texts,
            render_special=render_special,
            top_logprobs=-1 if n_top is None else n_top,
            allowed=masks,
            shape=shape,
        )
        prefix = prompt.text if prompt is not None and echo else ""
        return Run(generation, self._tokenizer, self._guard, len(tokens), recorder, prefix, start, self._keep)

    # ---- embeddings

    def embed(
        self, input: str | Sequence[str], normalize: bool = False, truncate: bool = True, return_count: bool = False
    ) -> Any:
        """What the last layer makes of a text, or of several: a list of n_embd numbers, or with pooling_type none one
        for each token; of its first n_ctx tokens unless truncate=False, which makes more a ValueError. With
        return_count=True, (embeddings, number of tokens). The context is empty afterwards."""
        with self._guard():
            made, n_tokens = embeddings_of(
                self._session, self.tokenize, self._n_ctx, self._pooling, input, bool(normalize), bool(truncate)
            )
        out = made[0] if isinstance(input, str) else made
        return (out, n_tokens) if return_count else out

    def create_embedding(self, input: str | Sequence[str], model: str | None = None) -> Result:
        """`embed` as OpenAI's dict."""
        embeddings, n_tokens = self.embed([input] if isinstance(input, str) else input, return_count=True)
        data = [{"object": "embedding", "embedding": made, "index": i} for i, made in enumerate(embeddings)]
        usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
        return {"object": "list", "data": data, "model": model or self.model_path, "usage": usage}

    @cached_property
    def _grammar_vocabulary(self) -> Vocabulary:
        return Vocabulary(self._tokenizer)
