"""An evaluation of your own: questions with known answers, asked through several cache types.

own_evaluation.py [-m MODEL] [--cache TYPE]... prints the right answers by type. Here the model looks up a number in a
list; replace `questions` by what your model is for. To make it a command `spectralkv eval NAME`, give a module of
python/spectralkv/evaluate a `main(args)` and a row in its command.py.
"""

import argparse
import random
from collections.abc import Iterator

from spectralkv import Llama, pull

NAMES = [
    "Ada",
    "Ben",
    "Cleo",
    "Dora",
    "Emil",
    "Faye",
    "Gus",
    "Hana",
    "Ivo",
    "Juno",
    "Kai",
    "Lena",
    "Milo",
    "Nora",
    "Pia",
]


def questions(count: int, lines: int) -> Iterator[tuple[str, str]]:
    """Prompts and what the answer must begin with."""
    draw = random.Random(1)
    for _ in range(count):
        codes = {name: str(draw.randrange(100, 1000)) for name in draw.sample(NAMES, lines)}
        listed = "\n".join(f"The code of {name} is {code}." for name, code in codes.items())
        asked = draw.choice(list(codes))
        yield f"{listed}\nQuestion: what is the code of {asked}?\nAnswer: the code of {asked} is", codes[asked]


def main() -> None:
    parser = argparse.ArgumentParser(description="Questions of your own through several cache types.")
    parser.add_argument("-m", "--model", help="a GGUF file (default: the demo model)")
    parser.add_argument("--cache", action="append", metavar="TYPE", help="again for another (default: f16, default)")
    parser.add_argument("--count", type=int, default=20, help="questions")
    parser.add_argument("--lines", type=int, default=12, help="lines of the list, at most 15")
    options = parser.parse_args()
    asked = list(questions(options.count, options.lines))
    print(f"{'cache type':32} right of {len(asked)}")
    for cache in options.cache or ["f16", "default"]:
        with Llama(options.model or pull(), n_ctx=2048, type_k=cache, type_v=cache, verbose=False) as llama:
            right = 0
            for prompt, answer in asked:
                result = llama(prompt, max_tokens=8, temperature=0, stop=["\n", "."])
                right += result["choices"][0]["text"].strip().startswith(answer)
            print(f"{cache:32} {right}")


if __name__ == "__main__":
    main()
