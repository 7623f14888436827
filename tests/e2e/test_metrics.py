"""The metrics: what is in them, what reads them, and that nobody can hurt the daemon by them."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import socket
import stat
import subprocess
import time

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from rig.http import connect, fetch, read_answer
from rig.picture import draw
from rig.process import privileges
from rig.prometheus import Prometheus
from rig.prosody import ROOT
from rig.tls import client_hello, context
from rig.wait import until
from rig.world import BUILD, CLIENTS4, CLIENTS6, HOSTS
from rig.xmpp import XmppError

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
MONITORING = ROOT / "doc/monitoring"
FULL = os.environ.get("XMPP443_FULL") == "1"
DRAWN = {  # of the dashboard's panels, with their units
    "New connections": "1/s", "Connections now": "", "Handed over, and answers": "1/s", "Ended without success": "1/s",
    "Relayed": "bit/s", "Time until the ClientHello is there": "s"}


@pytest.fixture
def address(port):
    return "127.0.0.1", port + 5000


@pytest.fixture
def measured(new_shim, port, address):
    """measured(key=value...): a shim with metrics, and more in its [shim]."""
    return lambda process=None, **keys: new_shim(
        port, shim={"metrics": f"{address[0]}:{address[1]}",
                    **{key.replace("_", "-"): value for key, value in keys.items()}}, process=process)


def numbers(ns, address):
    """{name and labels as in the document: value}"""
    answer = fetch(ns, address)
    assert answer.status == 200
    lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def page(world, port, path="/", mib=1, **where):
    """At most so much of it is fetched. Its length, and that of the answer's head."""
    with world.tls(port=port, alpn=["http/1.1"], **where) as stream:
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOSTS[0]}\r\nRange: bytes=0-{mib * 2**20 - 1}\r\n"
                       "Connection: close\r\n\r\n".encode())
        length = 0
        while piece := stream.recv():
            length += len(piece)
    return length


def some_of_everything(world, shim, port):
    """Connections of all sorts; the shim has hello-timeout = 1s."""
    for source in (CLIENTS4[0], CLIENTS6[0]):
        world.login(source=source, port=port).logout()
        assert page(world, port, source=source) > 0
    for garbage in (b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00"):
        with world.connect(port=port) as sock:
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while sock.recv(4096):
                    pass
    since = shim.mark()
    with world.connect(port=port):
        shim.wait_event(since=since, event="closed", reason="hello-timeout")
    world.connect(port=port).close()
    shim.wait_event(since=since, event="closed", reason="client-gone")


def test_the_numbers_are_what_happened(world, measured, port, address):
    shim = measured(hello_timeout="1s")
    some_of_everything(world, shim, port)
    until(lambda: numbers(world.server, address)['xmpp443_connections{state="relayed"}'] == 0, "all relays to end")
    got = numbers(world.server, address)
    assert got["xmpp443_accepted_total"] == 8
    assert got['xmpp443_routed_total{route="xmpp-client",verdict="ok"}'] == 2
    assert got['xmpp443_routed_total{route="web",verdict="ok"}'] == 2
    assert got['xmpp443_routed_total{route="web",verdict="not-tls"}'] == 1
    assert got['xmpp443_routed_total{route="web",verdict="malformed"}'] == 1
    assert got['xmpp443_handed_off_total{route="xmpp-client"}'] == 2
    assert got['xmpp443_acks_total{verdict="adopted"}'] == 2
    assert got['xmpp443_closed_total{reason="hello-timeout"}'] == 1
    assert got['xmpp443_closed_total{reason="client-gone"}'] == 1
    assert sum(value for name, value in got.items() if re.match(r'xmpp443_closed_total\{.*route="web"', name)) == 4
    assert got["xmpp443_hello_seconds_count"] == 6
    assert got['xmpp443_channels{state="away"}'] == 0
    assert got['xmpp443_channels{state="up"}'] == got["xmpp443_workers"]
    # What the kernel says of the process, by the test's own look at it.
    fds = len(os.listdir(f"/proc/{shim.process.pid}/fd"))
    assert abs(got["process_open_fds"] - 1 - fds) <= 1  # the scrape has one of its own
    limits = pathlib.Path(f"/proc/{shim.process.pid}/limits").read_text()
    assert got["process_max_fds"] == int(re.search(r"^Max open files\s+(\d+)", limits, re.M)[1])
    assert abs(got["process_start_time_seconds"] - os.stat(f"/proc/{shim.process.pid}").st_ctime) < 60
    assert got["process_resident_memory_bytes"] > 1e6
    assert got["process_cpu_seconds_total"] > 0


def test_relayed_bytes_are_counted_by_direction(world, measured, port, address):
    measured()
    mib = 5
    assert page(world, port, "/big.bin", mib) > mib * 2**20
    got = numbers(world.server, address)
    down = got['xmpp443_relay_bytes_total{direction="to-client"}']
    up = got['xmpp443_relay_bytes_total{direction="to-backend"}']
    assert mib * 2**20 < down < mib * 2**20 * 1.05  # and TLS around it
    assert 500 < up < 5000


def test_clients_that_wait_for_prosody_are_seen(world, measured, port, address):
    shim = measured()
    world.prosody.stop()
    try:
        hello = client_hello(context(world.authority.cert, ["xmpp-client"]), HOSTS[0])
        waiting = [world.connect(port=port) for _ in range(3)]
        for sock in waiting:
            sock.sendall(hello)
        until(lambda: numbers(world.server, address)['xmpp443_connections{state="held"}'] == 3, "three to be held")
        got = numbers(world.server, address)
        assert got['xmpp443_channels{state="up"}'] == 0
        assert got['xmpp443_channels{state="away"}'] == got["xmpp443_workers"]
        assert got["xmpp443_held_total"] == 3
    finally:
        world.prosody.start()
    until(lambda: numbers(world.server, address)['xmpp443_acks_total{verdict="adopted"}'] == 3, "all to be taken")
    got = numbers(world.server, address)
    assert got['xmpp443_connections{state="held"}'] == 0
    assert got['xmpp443_connections{state="unanswered"}'] == 0
    for sock in waiting:
        sock.close()
    assert shim.events(event="receiver-away")


def test_promtool_and_a_strict_parser_find_nothing_wrong(world, measured, port, address):
    shim = measured(hello_timeout="1s")
    some_of_everything(world, shim, port)
    plain = fetch(world.server, address)
    assert plain.fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lint = subprocess.run(["promtool", "check", "metrics"], input=plain.body, capture_output=True, timeout=60)
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, b"")
    openmetrics = fetch(world.server, address, accept=OPENMETRICS)
    assert openmetrics.fields["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(openmetrics.body.decode())}
    assert families["xmpp443_routed"].type == "counter"
    assert families["xmpp443_hello_seconds"].type == "histogram"
    assert families["xmpp443_build"].type == "info"
    assert len(families) >= 19
    # The same in both.
    names = {line.split("{")[0].split(" ")[0] for text in (plain, openmetrics)
             for line in text.body.decode().splitlines() if not line.startswith("#")}
    assert names == {sample.name for family in families.values() for sample in family.samples}


def test_curl_reads_them_from_a_unix_socket(world, new_shim, port):
    folder = world.folder / f"run{port}"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    path = folder / "metrics.sock"
    shim = new_shim(port, shim={"metrics": f"unix:{path}"})
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660
    curl = ["curl", "--silent", "--show-error", "--fail", "--unix-socket", str(path), "http://localhost/metrics"]
    assert "xmpp443_build_info" in subprocess.run(curl, check=True, capture_output=True, text=True, timeout=20).stdout
    # Nobody but the owner and the group may.
    stranger = subprocess.run([*privileges("daemon"), *curl], capture_output=True, text=True, timeout=20)
    assert stranger.returncode == 7, stranger
    # A second one must not take it away from the first.
    other = world.shim(world.config(port + 3000, shim={"metrics": f"unix:{path}"}))
    other.process.start()
    assert other.process.child.wait(20) == 2
    assert other.events(event="metrics-failed", error="Address already in use")
    subprocess.run(curl, check=True, capture_output=True, timeout=20)
    # What is left behind by a sudden end is replaced; an orderly end leaves nothing.
    shim.kill()
    assert path.exists()
    shim.start()
    subprocess.run(curl, check=True, capture_output=True, timeout=20)
    shim.stop()
    assert not path.exists()


def test_a_reload_moves_them_and_keeps_the_counts(world, measured, port, address):
    shim = measured()
    world.login(port=port).logout()
    before = numbers(world.server, address)
    assert before['xmpp443_handed_off_total{route="xmpp-client"}'] == 1

    elsewhere = "::1", address[1] + 1
    def move(metrics, times, **options):
        shim.reload(world.config(port, shim={"metrics": metrics}, **options))
        until(lambda: len(shim.events(event="reloaded")) == times, "the reload")

    # Another route comes first now: the counts stay with the names.
    move(f"[::1]:{elsewhere[1]}", 1, routes={"first": {"alpn": "other", "proxy": "127.0.0.1:1"}})
    with pytest.raises(ConnectionRefusedError):
        fetch(world.server, address)
    after = numbers(world.server, elsewhere)
    assert after['xmpp443_handed_off_total{route="xmpp-client"}'] == 1
    assert after['xmpp443_handed_off_total{route="first"}'] == 0
    assert after['xmpp443_reloads_total{result="ok"}'] == 1
    move("off", 2)
    with pytest.raises(ConnectionRefusedError):
        fetch(world.server, elsewhere)
    move(f"{address[0]}:{address[1]}", 3)
    world.login(port=port).logout()
    assert numbers(world.server, address)['xmpp443_handed_off_total{route="xmpp-client"}'] == 2


def test_an_address_in_use_fails_the_reload_and_everything_stays(world, measured, port, address):
    shim = measured()
    with world.server.inside():
        taken = socket.create_server(("127.0.0.1", 0))
    with taken:
        shim.reload(world.config(port + 3000, shim={"metrics": f"127.0.0.1:{taken.getsockname()[1]}"}))
        shim.wait_event(event="metrics-failed", error="Address already in use")
        shim.wait_event(event="reload-failed")
    assert numbers(world.server, address)['xmpp443_reloads_total{result="failed"}'] == 1
    page(world, port)
    with pytest.raises(ConnectionRefusedError):
        world.connect(port=port + 3000)


@pytest.mark.skipif("san" in BUILD, reason="without a sandbox")
def test_in_the_sandbox_a_unix_socket_moves_within_its_directory_only(world, new_shim, port):
    folder = world.folder / f"run{port}"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    shim = new_shim(port, shim={"metrics": f"unix:{folder}/a"})
    landlock = int(shim.events(event="sandbox")[0]["landlock"])
    shim.reload(world.config(port, shim={"metrics": f"unix:{folder}/b"}))
    shim.wait_event(event="reloaded")
    assert sorted(p.name for p in folder.iterdir()) == ["b"]
    (folder / "c").mkdir(mode=0o777)
    os.chown(folder / "c", 65534, 65534)
    assert numbers(world.server, str(folder / "b"))["xmpp443_workers"] >= 1
    if landlock:
        (world.folder / f"other{port}").mkdir()
        os.chown(world.folder / f"other{port}", 65534, 65534)
        shim.reload(world.config(port, shim={"metrics": f"unix:{world.folder}/other{port}/m"}))
        found = shim.wait_event(event="metrics-failed")
        assert "needs a restart" in found["error"]
        assert numbers(world.server, str(folder / "b"))["xmpp443_workers"] >= 1


def test_only_the_host_itself_can_be_served(world, port):
    shim = world.shim(world.config(port, shim={"metrics": "0.0.0.0:9443"}))
    shim.process.start()
    assert shim.process.child.wait(20) == 1
    assert "not to the world" in shim.process.output()


def test_whoever_abuses_them_hurts_neither_the_daemon_nor_other_readers(world, measured, port, address):
    shim = measured()
    page(world, port)
    until(lambda: not shim.events(event="x") and shim.sockets(), "it to rest")
    before = shim.sockets()
    silent = [connect(world.server, address, 60) for _ in range(20)]
    for n, sock in enumerate(silent):
        with contextlib.suppress(ConnectionError):
            sock.sendall([b"", b"GET /metrics HTTP/1.1\r\n", os.urandom(100), b"A" * 100000, b"\0" * 5000][n % 5])
    # The web and XMPP do not notice; at most eight of them are in the process at a time.
    assert page(world, port) > 0
    world.login(port=port).logout()
    assert shim.sockets() <= before + 8 + 4
    # A well-behaved reader has its turn when theirs are over.
    assert fetch(world.server, address).status == 200
    for sock in silent:
        sock.close()
    until(lambda: shim.sockets() <= before, "all of them to be gone", 60)


def test_a_reader_that_is_slow_gets_a_whole_document(world, measured, port, address):
    measured(process=None)
    with connect(world.server, address) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        for byte in b"GET /metrics HTTP/1.1\r\n\r\n":
            sock.sendall(bytes([byte]))
        time.sleep(0.3)
        answer = read_answer(sock)
    assert answer.status == 200
    assert len(answer.body) == int(answer.fields["content-length"])


def test_the_settings_for_prometheus_in_the_documents_are_right(tmp_path):
    text = re.search(r"^```yaml\n(.*?)^```", (ROOT / "doc/operating.md").read_text(), re.M | re.S)[1]
    (tmp_path / "alerts.yml").write_text((MONITORING / "alerts.yml").read_text())
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/xmpp443-alerts.yml", str(tmp_path / "alerts.yml")))
    check = subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, timeout=60)
    assert check.returncode == 0 and "6 rules found" in check.stdout, check.stdout + check.stderr


def panels(interval):
    """{title: [(expression, legend)]} of the dashboard, for the one job and instance that there is."""
    def fill_in(expression):
        return (expression.replace("$__rate_interval", interval).replace("$job", "xmpp443").replace("$instance", ".*")
                .replace("[5m]", "[60s]"))

    dashboard = json.loads((MONITORING / "grafana.json").read_text())
    return {panel["title"]: [(fill_in(target["expr"]), target["legendFormat"]) for target in panel["targets"]]
            for panel in dashboard["panels"]}


@pytest.fixture
def prometheus(world, address, port):
    made = Prometheus(world.folder / f"prometheus{port}", world.server, [f"{address[0]}:{address[1]}"],
                      rules=MONITORING / "alerts.yml")
    yield made
    made.stop()


def test_a_real_prometheus_reads_them_and_the_dashboard_and_the_alerts_have_data(world, measured, port, address,
                                                                                 prometheus):
    shim = measured(hello_timeout="1s")
    prometheus.start()
    assert prometheus.query("scrape_samples_scraped > 60")
    some_of_everything(world, shim, port)
    until(lambda: prometheus.query("xmpp443_accepted_total == 8"), "the numbers in Prometheus", 60)

    for title, targets in panels("20s").items():
        for expression, _ in targets:
            found = until(lambda e=expression: prometheus.query(e), f"data for '{title}': {expression}", 30)
            assert all(value == value for _, value in found), (title, found)

    assert set(until(prometheus.rules, "the alerts")) == {
        "Xmpp443Down", "Xmpp443ReceiverAway", "Xmpp443ClientsLost", "Xmpp443BackendFails", "Xmpp443AtItsLimit",
        "Xmpp443ReloadFailed"}
    until(lambda: set(prometheus.rules().values()) == {"ok"}, "all alerts to have been evaluated", 60)
    # And they see what they are for.
    assert not prometheus.query('sum by (instance) (xmpp443_channels{state="away"}) > 0')
    world.prosody.stop()
    try:
        until(lambda: prometheus.query('sum by (instance) (xmpp443_channels{state="away"}) > 0'), "the alert", 60)
    finally:
        world.prosody.start()


def load(world, port, seconds):
    """Logins and pages, sometimes more of them; now and then a client that says nothing, or that is slow."""
    def login(n):
        with contextlib.suppress(OSError, XmppError):
            world.login("alice", HOSTS[n % 2], source=(CLIENTS4 + CLIENTS6)[n % 6], port=port, timeout=60).logout()

    def fetch_page(n):
        with contextlib.suppress(OSError):
            page(world, port, "/big.bin" if n % 10 == 0 else "/", source=(CLIENTS4 + CLIENTS6)[n % 6])

    def say_little(n):
        with contextlib.suppress(OSError), world.connect((CLIENTS4 + CLIENTS6)[n % 6], port) as sock:
            if n % 2:
                hello = client_hello(context(world.authority.cert, ["h2"]), HOSTS[0])
                sock.sendall(hello[:100])
                time.sleep(n % 10 / 20)
                sock.sendall(hello[100:])
            sock.recv(100)

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        begun = time.monotonic()
        n = 0
        while (now := time.monotonic() - begun) < seconds:
            busy = seconds * 0.4 < now < seconds * 0.6
            pool.submit(login, n)
            for i in range(12 if busy else 4):
                pool.submit(fetch_page, n + i)
            if n % 3 == 0:
                pool.submit(say_little, n)
            n += 1
            time.sleep(0.25)


def test_a_picture_can_be_drawn_of_the_dashboard(world, measured, port, address, prometheus):
    """The full-size run draws the one in the documents."""
    seconds = 180 if FULL else 5
    measured(hello_timeout="2s")
    prometheus.start()
    start = time.time()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(load, world, port, seconds)
        time.sleep(seconds * 0.7)
        world.prosody.stop()
        time.sleep(seconds * 0.08)
        world.prosody.start()
        running.result()
    until(lambda: prometheus.query('sum(xmpp443_connections{state="held"}) == 0'), "nobody to be held", 60)
    picture = MONITORING / "dashboard.png" if FULL else world.folder / "dashboard.png"
    found = panels("10s")
    draw(picture, prometheus, [(title, unit, found[title]) for title, unit in DRAWN.items()], start, time.time())
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert picture.stat().st_size > 10000
