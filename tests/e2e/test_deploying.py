"""The lines of doc/deploying.md for each web server do what they promise, as they stand there."""

import contextlib
import http.server
import pathlib
import re
import shutil
import threading

import pytest
from rig.process import Process, privileges
from rig.wait import until
from rig.webserver import USER
from rig.world import CLIENTS4, CLIENTS6, SERVER4, SERVER6

DOCUMENT = pathlib.Path(__file__).parents[2] / "doc" / "deploying.md"
HOST = "example.org"
PAGE = "a page of the web server\n"


def lines_for(language):
    """The one block of that language in the document."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S)
    assert len(found) == 1, f"{len(found)} blocks of {language}"
    return found[0]


def shim_lines():
    """The address that the document's settings for the shim name, with PROXY v2."""
    return re.search(r"^\[web\]\nproxy = (\S+)\nproxy-protocol = v2$", DOCUMENT.read_text(), re.M)[1]


def nginx(folder, lines):
    temps = "".join(f"{kind}_temp_path {folder}/tmp;\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "server.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{ }}\n"
        f"http {{\n{temps}access_log {folder}/access.log;\n{lines}}}\n")
    return ["/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "server.conf"), "-e", str(folder / "error.log")]


def apache(folder, lines):
    loaded = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in
                     ("mpm_event", "authz_core", "ssl", "http2", "remoteip", "proxy", "proxy_http"))
    formats = r'LogFormat "%h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\"" combined'  # Debian's
    (folder / "server.conf").write_text(
        f"{loaded}ServerRoot {folder}\nServerName {HOST}\nDefaultRuntimeDir {folder}\nPidFile {folder}/apache.pid\n"
        f"ErrorLog {folder}/error.log\n{formats}\nDefine APACHE_LOG_DIR {folder}\n{lines}")
    return ["/usr/sbin/apache2", "-X", "-f", str(folder / "server.conf")]


def lighttpd(folder, lines):
    (folder / "server.conf").write_text(
        f'server.modules = ( )\nserver.document-root = "{folder}/www"\nserver.errorlog = "{folder}/error.log"\n'
        f'server.bind = "127.0.0.1"\nserver.port = 8080\nmimetype.assign = ( ".txt" => "text/plain" )\n{lines}'
        f'accesslog.filename = "|exec cat >>{folder}/access.log"\n')
    return ["/usr/sbin/lighttpd", "-D", "-f", str(folder / "server.conf")]


def haproxy(folder, lines):
    (folder / "server.conf").write_text(
        "global\n    log stdout format raw local0\ndefaults\n    log global\n    timeout connect 10s\n    timeout client 60s\n"
        f"    timeout server 60s\n{lines}")
    return ["/usr/sbin/haproxy", "-db", "-f", str(folder / "server.conf")]


SERVERS = {"nginx": nginx, "nginx-unix": nginx, "apache": apache, "lighttpd": lighttpd, "haproxy": haproxy}


class Application(http.server.BaseHTTPRequestHandler):
    """What is behind the web server: says which address it was told."""

    def do_GET(self):
        body = f"{self.headers.get('X-Forwarded-For')}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def application(ns):
    with ns.inside():
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 9000), Application)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@contextlib.contextmanager
def web_server(world, name):
    """Runs the document's lines, with this test's certificate, folder and nothing else changed."""
    folder = world.folder / f"deploying-{name}"
    for made in (folder, folder / "www", folder / "tmp"):
        made.mkdir()
    (folder / "www" / "page.txt").write_text(PAGE)
    cert, key = world.authority.issue(HOST)
    (folder / "both.pem").write_text(pathlib.Path(cert).read_text() + pathlib.Path(key).read_text())
    lines = lines_for(name)
    for there, here in ((f"/etc/ssl/{HOST}.crt", cert), (f"/etc/ssl/{HOST}.key", key), (f"/etc/ssl/{HOST}.pem", folder / "both.pem"),
                        ("/var/www/html", folder / "www"), ("/run/nginx-443.sock", folder / "nginx-443.sock")):
        lines = lines.replace(there, str(here))
    argv = SERVERS[name](folder, lines)
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, *USER)
    folder.chmod(0o755)
    process = Process(name, argv, folder / "output.log", world.server, privileges(*USER))
    process.start()
    try:
        yield folder, process
    finally:
        process.kill()


@pytest.mark.parametrize("name", SERVERS)
def test_the_server_and_its_application_learn_the_true_address(world, new_shim, port, name):
    with web_server(world, name) as (folder, process), application(world.server):
        log = folder / "access.log" if name != "haproxy" else folder / "output.log"
        new_shim(port, web=f"unix:{folder}/nginx-443.sock" if name == "nginx-unix" else shim_lines())
        for source, where in ((CLIENTS4[0], SERVER4), (CLIENTS6[0], f"[{SERVER6}]")):
            def get(path):
                assert process.alive(), process.output()
                url = f"https://{HOST}:{port}{path}"
                return world.clients.curl(url, where, "--fail", source=source)  # noqa: B023

            def started(path=f"/cloud/{name}"):
                with contextlib.suppress(AssertionError):
                    return get(path)

            assert until(started, f"{name} to answer") == f"{source}\n"
            if name != "haproxy":  # which has no files of its own
                assert get("/page.txt") == PAGE
            until(lambda: re.search(rf"^{re.escape(source)}[ :]", log.read_text(), re.M),  # noqa: B023
                  f"{source} in the log of {name}")
