"""The proxies under test: their programs, and their configuration from conf/.

Kinds: shim; haproxy (splice-auto) and haproxy-splice (forced); nginx (stream with ssl_preread); sslh and sniproxy.
"""

import shutil
from pathlib import Path

CONF = Path(__file__).resolve().parent / "conf"
LISTEN = "127.0.0.1:4430"
XMPP = "127.0.0.1:5223"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
PROGRAMS = {"haproxy": "haproxy", "haproxy-splice": "haproxy", "nginx": "nginx", "sslh": "sslh-select", "sniproxy": "sniproxy"}


def available(kind):
    """Is it installed?"""
    if kind == "nginx" and not STREAM_MODULE.exists():
        return False
    return kind not in PROGRAMS or shutil.which(PROGRAMS[kind]) is not None


def fill(template, directory, **values):
    """Writes a configuration file into the proxy's directory."""
    text = (CONF / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    path = directory / template
    path.write_text(text)
    return path


def command(kind, world, backend, workers):
    """The command line of a proxy in a world, with its configuration written."""
    directory = world.proxy_dir
    values = {"LISTEN": LISTEN, "XMPP": XMPP, "DIR": directory, "BACKEND": backend, "WORKERS": workers,
              "LISTEN_PORT": LISTEN.rpartition(":")[2], "XMPP_PORT": XMPP.rpartition(":")[2],
              "BACKEND_PORT": backend.rpartition(":")[2]}
    if kind == "shim":
        # A copy: the tree may be where the user under test cannot go.
        program = shutil.copy(world.options.shim, world.dir / "xmpp443-shim")
        return [program, "-c", fill("shim.conf", directory, FDPASS=world.dir / "fdpass.sock",
                                    LOG_LEVEL=world.options.shim_log_level, **values)]
    if kind == "nginx":
        return ["nginx", "-e", directory / "nginx.log", "-c", fill("nginx.conf", directory, **values)]
    if kind == "sslh":
        return ["sslh-select", "-f", "-n", "-F" + str(fill("sslh.cfg", directory, **values))]
    if kind == "sniproxy":
        return ["sniproxy", "-f", "-c", fill("sniproxy.conf", directory, **values)]
    values["BACKEND"] = backend.replace("unix:", "unix@")
    if kind == "haproxy":
        values |= {"PIPESIZE": "", "SPLICE": "option splice-auto"}
    else:
        values |= {"PIPESIZE": "tune.pipesize 1048576", "SPLICE": "option splice-request\n\toption splice-response"}
    return ["haproxy", "-db", "-q", "-f", fill("haproxy.cfg", directory, **values)]
