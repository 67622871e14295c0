#!/usr/bin/env python3
"""`gossamer serve` beside llama-server on one GGUF, in turns, with several clients at once:

    bench/serve.py MODEL.gguf --csv OUT.csv --gossamer build/gossamer [--llama PATH/llama-server]
        [--clients 1,4,16] [--prompt 256] [--answer 64] [--requests 2] [--rounds 2] [--threads 2]

Every client sends its requests one after the other to /v1/completions, each with a prompt of other random token ids, so
that no server can answer from its cache, and reads the stream. A row of the CSV is one run: tokens answered a second of
all clients together, and the median and longest time to the first token. Both servers have a place for every client,
start afresh for each run and get one short request before the clock runs. Only the standard library is needed; rows
are added to a file that is there.
"""
import http.client
import json
import random
import socket
import statistics
import subprocess
import sys
import threading
import time

from compare import arguments, circumstances, numbers, rows_added

COLUMNS = ["date", "machine", "model", "threads", "clients", "prompt", "answer", "round", "server", "tokens_per_s",
           "first_token_s", "first_token_most_s"]
VOCABULARY = 199998  # ids below it are text in o200k_harmony
CONTROL = {str(token): -100 for token in (199999, 200002, 200012)}  # ids that would end an answer early
PATIENCE = 600  # seconds for a server to start


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(server, options, clients, port):
    room = options.prompt + options.answer + 64
    if server == "gossamer":
        return [options.gossamer, "serve", "-m", options.model, "--port", port, "--no-store", "--quiet", "--parallel", clients,
                "--context", room, "--threads", options.threads, *options.gossamer_options.split()]
    return [options.llama, "-m", options.model, "--port", port, "-np", clients, "-c", room * clients, "-t", options.threads,
            *options.llama_options.split()]


def ask(port, prompt, answer):
    """Seconds to the first token and to the end."""
    begin, first = time.monotonic(), None
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3600)
    connection.request("POST", "/v1/completions", json.dumps({
        "prompt": prompt, "max_tokens": answer, "temperature": 0, "stream": True, "logit_bias": CONTROL}),
        {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        sys.exit(f"{response.status}: {response.read(2000).decode(errors='replace')}")
    reason = None
    for line in response:
        if line.startswith(b"data: {"):
            first = first or time.monotonic() - begin
            for choice in json.loads(line[6:])["choices"]:
                reason = choice.get("finish_reason") or reason
    if reason != "length":
        sys.exit(f"an answer ended by {reason}, not by its length")
    return first, time.monotonic() - begin


def wait_until_ready(process, port):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit(f"no server: {process.args}")


def measure(server, options, clients, dice):
    port = free_port()
    process = subprocess.Popen([str(word) for word in command(server, options, clients, port)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    prompts = [[[dice.randrange(VOCABULARY) for _ in range(options.prompt)] for _ in range(options.requests)]
               for _ in range(clients)]
    firsts = []

    def client(mine):
        for prompt in mine:
            firsts.append(ask(port, prompt, options.answer)[0])

    try:
        wait_until_ready(process, port)
        ask(port, prompts[0][0][:8][::-1], 2)
        crowd = [threading.Thread(target=client, args=(mine,)) for mine in prompts]
        begin = time.monotonic()
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
        seconds = time.monotonic() - begin
    finally:
        process.terminate()
        process.wait()
    if len(firsts) != clients * options.requests:
        sys.exit(f"{server}: {len(firsts)} answers of {clients * options.requests}")
    return {"tokens_per_s": f"{len(firsts) * options.answer / seconds:.2f}",
            "first_token_s": f"{statistics.median(firsts):.3f}", "first_token_most_s": f"{max(firsts):.3f}"}


def main():
    parser = arguments(rounds=2)
    parser.add_argument("--clients", default="1,4,16")
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--answer", type=int, default=64)
    parser.add_argument("--requests", type=int, default=2, help="of each client")
    options = parser.parse_args()
    servers = ["gossamer"] + (["llama"] if options.llama else [])
    with rows_added(options.csv, COLUMNS) as add:
        for number in range(options.rounds):
            for clients in numbers(options.clients):
                for server in servers[number % len(servers):] + servers[:number % len(servers)]:
                    row = measure(server, options, clients, random.Random(f"{number} {clients}"))
                    add(circumstances(options) | {
                        "clients": clients, "prompt": options.prompt, "answer": options.answer, "round": number,
                        "server": server} | row)
                    print(clients, server, *row.values(), flush=True)


if __name__ == "__main__":
    main()
