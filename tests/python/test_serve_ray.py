"""Replicas on a local Ray: the server's answers, prefixes that find their replica, and a replica that is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.tiny_model import write_tiny_model

pytest.importorskip("starlette")
pytest.importorskip("ray.serve", reason="Ray is missing: pip install '.[ray]'")
httpx = pytest.importorskip("httpx")
openai = pytest.importorskip("openai")

from support.serving import free_port, serving  # noqa: E402

START_SECONDS = 180
SYSTEM = "the hello in there is a long text. " * 20


def descendants(pid):
    """Process ids below one, with their command lines."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
            parents[int(stat.parent.name)] = int(text[text.rindex(")") + 2 :].split()[1])
        except OSError:
            continue
    below, more = {pid}, True
    while more:
        found = {child for child, parent in parents.items() if parent in below} - below
        below |= found
        more = bool(found)
    lines = {}
    for each in below:
        try:
            lines[each] = Path(f"/proc/{each}/cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return lines


class Cluster:
    def __init__(self, model):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        options = ["--ray", "--replicas", "2", "-t", "1", "-c", "2048", "-np", "8", "--port", str(self.port)]
        options += ["--log-level", "warning", "--ray-options", '{"health_check_period_s": 1}']
        command = [sys.executable, "-m", "spectralkv.cli", "serve", "-m", model, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.said = []
        threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True).start()

    def healthy(self, n, seconds=START_SECONDS):
        """Waits until n replicas are well."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                answer = httpx.get(self.url + "/health", timeout=10)
                if answer.status_code == 200 and answer.json()["replicas"] == n:
                    return True
            except httpx.HTTPError:
                pass
            time.sleep(0.3)
        return False

    def replicas(self):
        return [pid for pid, line in descendants(self.process.pid).items() if "ServeReplica" in line]

    def ask(self, **body):
        return httpx.post(self.url + "/v1/completions", json=body, timeout=120)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_tiny_model(tmp_path_factory.mktemp("ray") / "tiny.gguf", context_length=2048))


@pytest.fixture(scope="module")
def cluster(model):
    cluster = Cluster(model)
    try:
        if not cluster.healthy(2):
            pytest.fail("the replicas did not start:\n" + "".join(cluster.said[-40:]))
        yield cluster
    finally:
        cluster.process.send_signal(signal.SIGINT)
        try:
            cluster.process.wait(60)
        except subprocess.TimeoutExpired:
            cluster.process.kill()


@pytest.fixture(scope="module")
def alone(model):
    """What one server answers."""
    with serving(model, n_ctx=2048) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        cache = {}

        def text(**body):
            key = json.dumps(body)
            if key not in cache:
                cache[key] = client.post("/v1/completions", json=body).json()["choices"][0]["text"]
            return cache[key]

        yield text


def test_answers_are_those_of_one_server(cluster, alone):
    body = {"prompt": "hello", "max_tokens": 20, "seed": 5, "temperature": 1.1}
    assert cluster.ask(**body).json()["choices"][0]["text"] == alone(**body)
    with openai.OpenAI(base_url=f"{cluster.url}/v1", api_key="none", max_retries=0) as client:
        chunks = list(client.completions.create(model="x", **body, stream=True))
        assert "".join(chunk.choices[0].text for chunk in chunks) == alone(**body)
        assert len(chunks) > 10
        assert [model.id for model in client.models.list().data] == ["tiny.gguf"]
        with pytest.raises(openai.BadRequestError, match="temperature"):
            client.completions.create(model="x", prompt="a", temperature=-1)
    assert cluster.ask(prompt="a", n=3, max_tokens=2).json()["choices"][2]["index"] == 2
    tokens = httpx.post(cluster.url + "/tokenize", json={"content": "hello"}).json()["tokens"]
    assert httpx.post(cluster.url + "/detokenize", json={"tokens": tokens}).json()["content"] == "hello"
    assert httpx.get(cluster.url + "/v1/models/other").status_code == 404
    assert "<title>spectralkv" in httpx.get(cluster.url).text


def test_streams_come_as_they_are_made(cluster):
    body = {"prompt": "hello", "max_tokens": 400, "ignore_eos": True, "stream": True}
    arrived = []
    with httpx.stream("POST", cluster.url + "/v1/completions", json=body, timeout=60) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                arrived.append(time.monotonic())
    assert len(arrived) > 200  # some tokens are parts of characters
    assert len({round(at, 2) for at in arrived}) > 5


def test_what_begins_alike_goes_to_one_replica(cluster):
    def replica(text):
        answer = cluster.ask(prompt=text, max_tokens=2)
        return answer.headers["x-replica"], answer.json()["timings"]["cache_n"]

    homes = {}
    for i in range(6):
        start = f"{i} {SYSTEM}"
        homes[i], _ = replica(start + "first")
        for question in ("second", "third"):
            home, cached = replica(start + question)
            assert home == homes[i] and cached > 64
    assert len(set(homes.values())) == 2  # others are spread


def test_reports_of_all_replicas(cluster):
    line = httpx.get(cluster.url + "/cache").json()
    assert line["budget_bytes"] == 2 << 30 and line["hit_rate"] > 0 and line["bits_per_entry"] > 0
    text = httpx.get(cluster.url + "/metrics").text
    names = re.findall(r'spectralkv_generated_tokens_total\{replica="(\w+)"\}', text)
    assert len(set(names)) == 2
    assert httpx.get(cluster.url + "/slots").json() == []


def test_a_client_that_goes_away_ends_its_requests(cluster):
    body = {"prompt": "hello", "max_tokens": 1900, "ignore_eos": True}
    with httpx.stream("POST", cluster.url + "/v1/completions", json={**body, "stream": True}, timeout=60) as answer:
        lines = answer.iter_lines()  # held: without it the answer is closed
        next(lines)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(cluster.url + "/v1/completions", json=body, timeout=0.2)
    end = time.monotonic() + 10
    while (left := httpx.get(cluster.url + "/slots").json()) and time.monotonic() < end:
        time.sleep(0.1)
    assert left == []


def test_a_replica_that_is_killed_loses_no_request(cluster, alone):
    """Each request under way has its answer, or an error: an event in a stream that has begun."""
    victims = cluster.replicas()
    assert len(victims) == 2
    bodies = [{"prompt": f"hello {i % 8}", "max_tokens": 150, "temperature": 0, "ignore_eos": True} for i in range(48)]
    expected = {body["prompt"]: alone(**body) for body in bodies}
    begun = threading.Semaphore(0)

    def whole(body):
        begun.release()
        answer = cluster.ask(**body)
        if answer.status_code == 200:
            return "right" if answer.json()["choices"][0]["text"] == expected[body["prompt"]] else "WRONG"
        return f"error {answer.json()['error']['code']}"

    def stream(body):
        text, end = "", None
        url = cluster.url + "/v1/completions"
        with httpx.stream("POST", url, json={**body, "stream": True}, timeout=120) as answer:
            begun.release()
            if answer.status_code != 200:
                return f"error {json.loads(answer.read())['error']['code']}"
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    event = json.loads(line[6:])
                    if "error" in event:
                        end = f"error {event['error']['code']}"
                    else:
                        text += event["choices"][0]["text"]
                elif line == "data: [DONE]" and end is None:
                    end = "right" if text == expected[body["prompt"]] else "WRONG"
        return end or "LOST"

    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(stream if i % 2 else whole, body) for i, body in enumerate(bodies)]
        for _ in range(12):
            begun.acquire(timeout=60)
        os.kill(victims[0], signal.SIGKILL)
        ends = [future.result() for future in asked]
    assert set(ends) <= {"right", "error replica_lost"}, ends
    assert ends.count("right") >= 24
    assert all(end == "right" for end in ends[::2])  # nothing had been promised: they were asked again
    assert cluster.healthy(2, 60)  # another one is there
    assert [whole(body) for body in bodies[:8]] == ["right"] * 8
