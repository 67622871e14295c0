"""A thousand connections at once, most of them idle, slow or not listening: whoever works is served as if alone, memory
stays bounded, and the limits hold, of all connections and of one address."""
import json
import pathlib
import resource
import socket
import time

from serving import LONG, PATIENCE, SANITIZED, Reader, Server, eventually

CONNECTIONS, PER_ADDRESS = 1024, 64
IDLE, HALF_HEADS, HALF_BODIES, DEAF, REAL = 720, 100, 100, 5 if SANITIZED else 50, 10
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
WORK = {"prompt": "Work", "max_tokens": 200, "seed": 7, **LONG}
KIB = 1024

resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


def dial(s, address="127.0.0.1", receive=None):
    client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    if receive:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    client.settimeout(PATIENCE)
    client.connect((address, s.port))
    return client


def status(client, request=HEALTH):
    """Of one answer on a connection that stays open."""
    client.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(4096)
        assert piece, "no answer"
        data += piece
    return int(data.split()[1])


def memory(s):
    for line in pathlib.Path(f"/proc/{s.process.pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1])


def descriptors(s):
    """Open ones; 0 where they may not be looked at, since the process has given up being looked into."""
    try:
        return len(list(pathlib.Path(f"/proc/{s.process.pid}/fd").iterdir()))
    except PermissionError:
        return 0


def answer(reader):
    return json.loads(reader.whole().split("\r\n\r\n", 1)[1])["choices"]


def who_works_is_served_among_a_thousand(s):
    alone = answer(Reader(s, "/v1/completions", WORK))
    start, files = memory(s), descriptors(s)
    idle = []
    for _ in range(IDLE):
        idle.append(dial(s))
        assert status(idle[-1]) == 200
    body = json.dumps({**WORK, "stream": True, "max_tokens": 1000}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    halves = [dial(s) for _ in range(HALF_HEADS + HALF_BODIES)]
    for i, client in enumerate(halves):
        client.sendall(head[:40] if i < HALF_HEADS else head + body[:9])
    deaf = [dial(s, receive=2048) for _ in range(DEAF)]
    for client in deaf:
        client.sendall(head + body)
    real = [Reader(s, "/v1/completions", {**WORK, "stream": False}) for _ in range(REAL)]
    health = dial(s)
    connections = s.metric("http_connections")  # less those of whom ten seconds were too many already
    assert connections > IDLE + DEAF
    waits = []
    while any(reader.thread.is_alive() for reader in real):
        begun = time.monotonic()
        assert status(health) == 200
        waits.append(time.monotonic() - begun)
        time.sleep(0.002)
    for reader in real:
        assert answer(reader) == alone, "the crowd changed an answer"
    waits.sort()
    print(f"/health among {int(connections)} connections: half within {waits[len(waits) // 2] * 1000:.1f} ms, "
          f"99 of 100 within {waits[len(waits) * 99 // 100] * 1000:.1f} ms; memory grew by {(memory(s) - start) // 1024} MiB")
    assert SANITIZED or waits[len(waits) * 9 // 10] < 0.25, waits[-20:]
    # A connection has at most 72 KiB of its own, and a deaf one 256 KiB that wait for it.
    bound = (IDLE + HALF_HEADS + HALF_BODIES) * 80 + DEAF * 512
    assert SANITIZED or memory(s) - start < bound, f"memory grew by {memory(s) - start} KiB, more than {bound}"
    for client in idle + halves + deaf + [health]:
        client.close()
    eventually(lambda: s.metric("http_connections") == 1 and s.metric("turns_running") + s.metric("turns_waiting") == 0)
    eventually(lambda: descriptors(s) <= files + 2)
    assert s.metric("kv_pages_free") + s.metric("kv_pages_cached") == s.metric("kv_pages")


def one_connection_too_many_is_told_so(s):
    clients = [dial(s) for _ in range(CONNECTIONS)]
    assert status(clients[-1]) == 200
    late = dial(s)
    assert status(late) == 503
    late.close()
    assert status(clients[0]) == 200
    clients.pop().close()
    eventually(lambda: attempt(s) == 200, 5)
    for client in clients:
        client.close()


def attempt(s, address="127.0.0.1"):
    client = dial(s, address)
    found = status(client)
    client.close()
    return found


def own_address():
    """An address of this machine that is not its loopback; None if it has none. Nothing is sent."""
    try:
        with socket.socket(type=socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))
            address = probe.getsockname()[0]
            return None if address.startswith("127.") else address
    except OSError:
        return None


def one_other_address_has_64():
    address = own_address()
    if not address:
        print("no address here but the loopback: the limit of one other address is left out")
        return
    with Server("--host", "0.0.0.0", "--allow-insecure") as s:
        clients = [dial(s, address) for _ in range(PER_ADDRESS)]
        assert status(clients[-1]) == 200
        late = dial(s, address)
        assert status(late) == 429, "one address has more than its share"
        late.close()
        many = [dial(s) for _ in range(PER_ADDRESS + 8)]
        assert status(many[-1]) == 200, "this machine's own clients are not limited so"
        clients.pop().close()
        eventually(lambda: attempt(s, address) == 200, 5)


def this_machine_is_known_by_both_of_its_addresses():
    """A server of both protocols sees 127.0.0.1 as ::ffff:127.0.0.1."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        print("no IPv6 here: that part is left out")
        return
    with Server("--host", "::", "--allow-insecure") as s:
        for address in ("::1", "127.0.0.1"):
            clients = [dial(s, address) for _ in range(PER_ADDRESS + 8)]
            assert status(clients[-1]) == 200, f"{address} is taken for another machine's"
            eventually(lambda: f" {address} - GET /health 200" in s.errors())


# Shells start programs with room for 1,024 files; the server has to ask for more.
with Server(wrap=("bash", "-c", 'ulimit -Sn 1024 && exec "$@"', "-")) as server:
    who_works_is_served_among_a_thousand(server)
    one_connection_too_many_is_told_so(server)
    server.stop()
one_other_address_has_64()
this_machine_is_known_by_both_of_its_addresses()
