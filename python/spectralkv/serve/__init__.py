"""The server: many requests at a time over HTTP, with OpenAI's API (docs/serving.md)."""
