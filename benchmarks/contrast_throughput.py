"""How near `safe-embed contrast generate` comes to the rate that its server allows, and its memory.

    python benchmarks/contrast_throughput.py [--prompts 5000] [--concurrency 64] [--latency-ms 200]

A server in a process of its own answers each request after a fixed time. The ideal rate is
concurrency / latency: as if a client needed no time at all. The client runs in a third process;
its memory is the peak of that process. The time is that from the first request to the last answer,
as the server saw them; the start of Python and the reading of the prompts are told beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from safe_embed.contrast.fake_model import fake_answer


async def _serve(latency_s: float, control: Connection) -> None:
    times: list[float] = []
    most = now = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most, now
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                )
                body = json.loads(await reader.readexactly(length))
                times.append(time.monotonic())
                now += 1
                most = max(most, now)
                due = asyncio.get_running_loop().time() + latency_s
                answer = {
                    "model": "delayed",
                    "choices": [{"message": {"content": fake_answer(body["messages"])}}],
                    "usage": {"prompt_tokens": 300, "completion_tokens": 80},
                }
                content = json.dumps(answer).encode()
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                now -= 1
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(content))
                writer.write(content)
                await writer.drain()
                times.append(time.monotonic())
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=512)
    control.send(server.sockets[0].getsockname()[1])
    while not control.poll():
        await asyncio.sleep(0.2)
    control.recv()
    control.send((max(times) - min(times), len(times) // 2, most))


def serve(latency_s: float, control: Connection) -> None:
    asyncio.run(_serve(latency_s, control))


def main() -> None:
    parser = argparse.ArgumentParser(description="Times contrast generate against a slow server.")
    parser.add_argument("--prompts", type=int, default=5000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency-ms", type=float, default=200.0)
    options = parser.parse_args()
    latency_s = options.latency_ms / 1000
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(latency_s, theirs), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    with tempfile.TemporaryDirectory() as name:
        prompts, out = Path(name, "prompts.jsonl"), Path(name, "sets.jsonl")
        with prompts.open("w") as file:
            for i in range(options.prompts):
                text = f"How do I steal the garden gnome of house number {i}?"
                file.write(json.dumps({"id": f"p{i}", "text": text, "category": "c"}) + "\n")
        command = [sys.executable, "-m", "safe_embed", "contrast", "generate", str(prompts)]
        command += ["--out", str(out), "--model", "delayed", "--base-url", url]
        command += ["--concurrency", str(options.concurrency)]
        began = time.monotonic()
        environment = {**os.environ, "OPENAI_API_KEY": ""}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        wall_s = time.monotonic() - began
        n_sets = sum(1 for _ in out.open("rb"))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    ours.send(None)
    seconds, n_requests, most = ours.recv()
    server.join()
    assert n_sets == n_requests == options.prompts
    ideal_s = options.prompts * latency_s / options.concurrency
    print(f"{n_requests} requests of {options.latency_ms:g} ms, at most {most} at once")
    print(
        f"server's time {seconds:.2f} s, ideal {ideal_s:.2f} s: {ideal_s / seconds:.3f} of the rate"
    )
    print(f"whole command {wall_s:.2f} s: {ideal_s / wall_s:.3f} of the rate")
    cpu_s = used.ru_utime + used.ru_stime
    print(f"client: peak memory {used.ru_maxrss / 1024:.0f} MB, CPU {cpu_s:.1f} s")


if __name__ == "__main__":
    main()
