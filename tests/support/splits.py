"""Pre-tokenizers as regular expressions, and texts to split: what the oracles of the tokenizer have in common."""

from __future__ import annotations

import functools
import json
import pydoc_data.topics
import random
from collections.abc import Iterator

WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
OTHERS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
SPACE = r"\s+(?!\S)|\s+"
LINES = rf"\s*[\r\n]+|{SPACE}"
ANY_CASE = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
# llama.cpp's form of the rules that ask for the case of letters: heads and tails of words.
HEAD, TAIL = r"((?=[\p{L}])([^a-z]))", r"((?=[\p{L}])([^A-Z]))"
LEAD = r"[^\r\n\p{L}\p{N}]?"
EAST_ASIAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
# Letters of deepseek-llm's expression, which lists those that have a case.
CASED = """
0041-005a 0061-007a 00b5 00c0-00d6 00d8-00f6 00f8-01ba 01bc-01bf 01c4-0293 0295-02af 0370-0373 0376 0377
037b-037d 037f 0386 0388-038a 038c 038e-03a1 03a3-03f5 03f7-0481 048a-052f 0531-0556 10a0-10c5 13a0-13f5
13f8-13fd 1c90-1cba 1cbd-1cbf 1d00-1d2b 1d6b-1d77 1d79-1d9a 1e00-1f15 1f18-1f1d 1f20-1f45 1f48-1f4d
1f50-1f57 1f59 1f5b 1f5d 1f5f-1f7d 1f80-1fb4 1fb6-1fbc 1fbe 1fc2-1fc4 1fc6-1fcc 1fd0-1fd3 1fd6-1fdb
1fe0-1fec 1ff2-1ff4 1ff6-1ffc 2102 2107 210a-2113 2115 2119-211d 2124 2126 2128 212a-212d 212f-2134 2139
213c-213f 2145-2149 214e 2183 2184 2c00-2c7b 2c7e-2ce4 2ceb-2cee 2cf2 2cf3 a640-a66d a680-a69b a722-a76f
a771-a787 a78b-a78e ab70-abbf fb00-fb06 fb13-fb17 ff21-ff3a ff41-ff5a 10400-1044f 104b0-104d3
104d8-104fb 10c80-10cb2 10cc0-10cf2 118a0-118df 1e900-1e943
"""


def spans_of(listed: str) -> list[tuple[int, int]]:
    """First and last code point of each part of a list in hexadecimal."""
    parts = [part.split("-") for part in listed.split()]
    return [(int(part[0], 16), int(part[-1], 16)) for part in parts]


def as_class(listed: str) -> str:
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in spans_of(listed))


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|" + SPACE
LLAMA3 = rf"{ANY_CASE}|{WORD}|\p{{N}}{{1,3}}|{OTHERS}|{LINES}"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
OTHERS_AND_SLASHES = OTHERS.replace(r"[\r\n]*", r"[\r\n/]*")
# The expressions of each, applied one after the other to what the one before leaves, as llama.cpp lists them.
SPLITS: dict[str, tuple[str, ...]] = {
    "default": (r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),
    "falcon": (r"[\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"),
    "gpt-2": (GPT2,),
    "smollm": (r"\p{N}", GPT2),
    "llama-bpe": (LLAMA3,),
    "minicpm5": (r"\p{N}{1,3}", LLAMA3.replace("{1,3}", "+")),
    "qwen2": (QWEN2,),
    "qwen35": (QWEN2.replace(r"\p{L}+", r"[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]"),),
    "ufakzeka": (QWEN2.removeprefix(f"{ANY_CASE}|"),),
    "seed-coder": (rf"{ANY_CASE}|{WORD}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{LINES}",),
    "tekken": (rf"{LEAD}{HEAD}*{TAIL}+|{LEAD}{HEAD}+{TAIL}*|\p{{N}}|{OTHERS_AND_SLASHES}|{LINES}",),
    "gpt-4o": (
        rf"{LEAD}{HEAD}*{TAIL}+(?:{ANY_CASE})?|{LEAD}{HEAD}+{TAIL}*(?:{ANY_CASE})?|\p{{N}}{{1,3}}|{OTHERS_AND_SLASHES}"
        rf"|{LINES}",
    ),
    "deepseek-llm": (
        r"[\r\n]",
        rf"\s?[{as_class(CASED)}]+",
        "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3001-\u3002]+",
        r"\s+\z",
        EAST_ASIAN,
        r"\p{N}+",
    ),
    "deepseek-coder": (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", EAST_ASIAN, r"\p{N}"),
    "deepseek-v3": (
        r"\p{N}{1,3}",
        "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
        rf"""| ?[\p{{P}}\p{{S}}]+[\r\n]*|{LINES}""",
    ),
    "bloom": (BLOOM,),
    "viking": (BLOOM, r"\p{N}"),
    "superbpe": (r"\p{N}+", "(?=([0-9]{3})+(?![0-9]))"),
    "chameleon": (
        "<sentinel:[0-9]+>",
        "IMGIMG[A-I]{1,4}Z",
        "[\\t\\n]|    |  ",
        r"\p{N}",
        r"[\p{P}!-/:-@\[-`{-~]",
        GPT2,
    ),
}
ALIASES = {
    "gpt-2": "phi-2 mpt olmo jais trillion granite-docling gigachat a.x-4.0 mellum exaone4",
    "smollm": "starcoder refact command-r codeshell exaone minerva-7b mellum2",
    "llama-bpe": "llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 smaug-bpe dbrx chatglm-bpe glm4 glm5",
    "qwen2": "deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2",
    "gpt-4o": "llama4 kanana2 talkie minimax-m2",
    "deepseek-v3": "hunyuan-dense joyai-llm hy_v4",
    "bloom": "poro-chat gpt3-finnish",
}

# What the rules look at: cases of letters, marks, numbers, white space, line ends, contractions, special tokens.
PARTS = [
    *(
        " ",
        "  ",
        "   ",
        "    ",
        "\n",
        "\r\n",
        "\t",
        "\n\n",
        "\x0b",
        "\x85",
        "\xa0",
        "\u2003",
        "\u2028",
        "\u3000",
        "\u1680",
    ),
    *("'s", "'S", "'t", "'re", "'RE", "'vE", "'m", "'ll", "'lL", "'d", "'\u017f", "'", "'l", "'r", "\u017f", "\u212a"),
    *("a", "bc", "The", "HTTPServer", "A", "ABC", "\u01c5", "\u02b0", "\u00aa", "é", "É", "ÉCOLE", "Ж", "ж", "\u0378"),
    *(
        "\u0301",
        "\u0308\u0301",
        "\u20dd",
        "東",
        "京都",
        "ا",
        "가",
        "ᄀ",
        "ひ",
        "カ",
        "เ",
        "ไทย",
        "हिन्दी",
        "\u9fff",
        "\u4e00",
    ),
    *("1", "23", "12345", "1234567", "\u00b2", "\u2167", "\u0663", "\u0663\u0664\u0665", "3.14", "1,000"),
    *(
        "!",
        "...",
        "/",
        "//\n",
        "?!/\n",
        "$",
        "$$",
        "+",
        "<=>",
        "^~|`",
        "_",
        "\\",
        "[",
        "]",
        "{}",
        "(",
        "|",
        "`",
        "\u2018",
    ),
    *(
        "\u2026",
        "\u3002",
        "\uff0c",
        "\u3001",
        "\u0964",
        "\u06d4",
        "\u060c",
        "\uff01",
        "\uff21",
        "\u2014",
        "\u20ac",
        "\u00ac",
    ),
    *("\x00", "\x01\x02", "\x1c", "\x1f", "\x7f", "\xad", "\ufffd", "\ufeff", "\u200d", "\u200b", "🙂", "👩\u200d🚀"),
    *("\U000e0001", "\U0010ffff", "\ue000", "\u1c89", "\U0002ebf0"),
    *("<sentinel:12>", "<sentinel:>", "IMGIMGABZ", "IMGIMGABCDEZ", "IMGIMGZ", "\n\t"),
    *("<|end|>", "<|end|>>", "<|end|", "<user>", "<user", "<us", "<", " unmerged", "unmerged"),
]


# Characters of Unicode 16 and 17: llama.cpp's tables, and ours, are those of 15.1 and know nothing of them.
NEWER = """
88f 897 c5c cdc 1acf-1add 1ae0-1aeb 1b4e-1b4f 1b7f 1c89-1c8a 20c1 2427-2429 2b96 31e4-31e5 a7cb-a7cf
a7d2 a7d4 a7da-a7dc a7f1 fbc3-fbd2 fd90-fd91 fdc8-fdce 105c0-105f3 10940-10959 10d40-10d65 10d69-10d85
10d8e-10d8f 10ec2-10ec7 10ed0-10ed8 10efa-10efc 11380-11389 1138b 1138e 11390-113b5 113b7-113c0 113c2
113c5 113c7-113ca 113cc-113d5 113d7-113d8 113e1-113e2 116d0-116e3 11b60-11b67 11bc0-11be1 11bf0-11bf9
11db0-11ddb 11de0-11de9 11f5a 13460-143fa 16100-16139 16d40-16d79 16ea0-16eb8 16ebb-16ed3 16ff2-16ff6
187f8-187ff 18cff 18d09-18d1e 18d80-18df2 1cc00-1ccfc 1cd00-1ceb3 1ceba-1ced0 1cee0-1cef0 1e5d0-1e5fa
1e5ff 1e6c0-1e6de 1e6e0-1e6f5 1e6fe-1e6ff 1f6d8 1f777-1f77a 1f8b2-1f8bb 1f8c0-1f8c1 1f8d0-1f8d8
1fa54-1fa57 1fa89-1fa8a 1fa8e-1fa8f 1fabe 1fac6 1fac8 1facd 1fadc 1fadf 1fae9-1faea 1faef 1fbcb-1fbef
1fbfa 2b73a-2b73f 2cea2-2cead 323b0-33479
"""


def newer_characters() -> set[str]:
    """NEWER, one by one."""
    return {chr(code) for first, last in spans_of(NEWER) for code in range(first, last + 1)}


def any_character(rng: random.Random) -> str:
    """From any plane, assigned or not, no surrogates; the first planes more often."""
    code = rng.randrange(rng.choice([0x80, 0x300, 0x3000, 0x10000, 0x20000, 0x110000]))
    return chr(code) if not 0xD800 <= code < 0xE000 else "a"


def texts(seed: str, n: int = 3000) -> Iterator[str]:
    rng = random.Random(seed)
    prose = pydoc_data.topics.topics["assert"] + pydoc_data.topics.topics["formatstrings"]
    yield ""
    for _ in range(n):
        kind = rng.randrange(4)
        size = rng.choice([1, 2, 3, 5, 8, 20, 60])
        if kind == 0:
            yield "".join(any_character(rng) for _ in range(size))
        elif kind == 1:
            yield "".join(rng.choice(PARTS) for _ in range(size))
        elif kind == 2:
            yield "".join(rng.choice([any_character, lambda r: r.choice(PARTS)])(rng) for _ in range(size))
        else:
            at = rng.randrange(len(prose))
            yield prose[at : at + 5 * size]


def every_character(per_text: int = 4096, step: int = 1) -> Iterator[str]:
    """Each code point (from U+3400, where long runs are alike, each `step`-th) beside letters, a number, spaces and
    signs, which shows its class."""
    codes = [*range(0x3400), *range(0x3400, 0xD800, step), *range(0xE000, 0x33000, step)]
    codes += [*range(0x33000, 0x110000, 61), *range(0xE0000, 0xE0200)]
    for start in range(0, len(codes), per_text):
        yield "".join(f"a{chr(c)}A {chr(c)}1{chr(c)}{chr(c)}! {chr(c)}\n" for c in codes[start : start + per_text])


def corpus() -> Iterator[str]:
    """Prose, and words of several scripts drawn with a bias, so that merges across bytes and characters come about."""
    rng = random.Random(1)
    words = [
        "".join(chr(rng.randrange(low, low + 12)) for _ in range(rng.randrange(1, 6)))
        for low in (0x41, 0x61, 0x430, 0x5D0, 0x905, 0x4E00, 0x1F600, 0x30, 0x21, 0x300)
        for _ in range(30)
    ]
    yield from pydoc_data.topics.topics.values()
    for _ in range(2000):
        yield rng.choice([" ", "  ", "\n", ""]).join(words[int(len(words) * rng.random() ** 2)] for _ in range(20))


NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # GGUF's token types
CONTROLS = ["<|end|>", "<|end|>>", "<|start|>"]
USERS = ["<user>", "    ", "<us"]
# Tokens that no merge makes: only ignore_merges finds them.
UNMERGED = ["Ġunmerged", "unmerged", "ÃĦÃĸ"]


@functools.cache
def byte_level_vocabulary() -> tuple[list[str], list[int], list[tuple[str, str]]]:
    """Tokens, types and merges. The merges cross what any pre-tokenizer separates, so that tokens show how a text was
    split; needs the package tokenizers."""
    import tokenizers

    bytes_only = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    trained.pre_tokenizer = bytes_only
    learned = [text.replace("<", "") for text in [*corpus(), *texts("train", 2000)]]  # no token is a special one too
    lines = (text[at : at + 100] for text in learned for at in range(0, len(text), 100))
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=4000, initial_alphabet=bytes_only.alphabet(), show_progress=False
    )
    trained.train_from_iterator(lines, trainer)
    model = json.loads(trained.to_str())["model"]
    tokens = [token for token, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    tokens += [token for token in UNMERGED if token not in model["vocab"]]
    types = [NORMAL] * len(tokens) + [CONTROL] * len(CONTROLS) + [USER_DEFINED] * len(USERS)
    return tokens + CONTROLS + USERS, types, [tuple(merge) for merge in model["merges"]]
