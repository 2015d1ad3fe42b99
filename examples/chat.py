"""A chat in the terminal: chat.py [-m MODEL]. An empty line, or the end of the input, ends it.

The whole chat is given each time; what the cache holds of it is not computed again.
"""

import argparse
import sys

from spectralkv import Llama, pull

parser = argparse.ArgumentParser(description="A chat in the terminal.")
parser.add_argument("-m", "--model", help="a GGUF file (default: the demo model)")
parser.add_argument("-n", "--max-tokens", type=int, default=256, help="of an answer, at most")
parser.add_argument("--system", default="You are a helpful assistant. You are brief.")
options = parser.parse_args()

messages = [{"role": "system", "content": options.system}]
with Llama(options.model or pull(), n_ctx=2048, verbose=False) as llama:
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        question = sys.stdin.readline().strip()
        if not question:
            break
        messages.append({"role": "user", "content": question})
        answer = ""
        for chunk in llama.create_chat_completion(messages, max_tokens=options.max_tokens, stream=True):
            piece = chunk["choices"][0]["delta"].get("content", "")
            answer += piece
            print(piece, end="", flush=True)
        print()
        messages.append({"role": "assistant", "content": answer})
