"""Prosody's own web services, over connections that a route for http/1.1 hands over."""

import xml.etree.ElementTree as ET

import pytest
from rig.websocket import WebSocket
from rig.xmpp import SASL

from clients import certificate, file_of, hand_over, http, login, shell, tls
from prosody_box import Prosody, Sender

ADDRESS = "192.0.2.99"
HOST = "one.example"
MODULES = ("c2s", "s2s", "tls", "saslauth", "http", "bosh", "websocket", "admin_socket", "admin_shell", "test_requests")
# As a README would have it: XMPP at one.example, the web services at web.example
COMPONENTS = """
VirtualHost "three.example"
	http_host = "web.example"
Component "upload.one.example" "http_file_share"
	http_host = "web.example"
"""


@pytest.fixture(scope="module")
def prosody():
    box = Prosody('http_external_url = "https://web.example/"; consider_websocket_secure = true',
                  modules=MODULES, components=COMPONENTS, extra_certs=("three.example", "web.example", "upload.one.example"))
    yield box
    box.close()


@pytest.fixture
def browser(sender):
    """Connections of a browser, one after the other."""
    def connect(host):
        client, verdict = hand_over(sender, alpn=b"http/1.1", source=(ADDRESS, 40099))
        assert verdict == "A"
        return tls(client, host, "http/1.1")
    return connect


def seen(prosody, what):
    prosody.wait_for_log(f"request: {what} from {ADDRESS}")


@pytest.mark.parametrize("host", [HOST, "two.example", "web.example"])
def test_each_name_has_its_certificate(prosody, browser, host):
    conn = browser(host)
    assert certificate(conn) == file_of(prosody, host)
    assert conn.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("host", [HOST, "web.example"])
def test_bosh_session_has_the_clients_address(prosody, browser, host):
    to = HOST if host == HOST else "three.example"
    body = ("<body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' content='text/xml' hold='1' "
            f"rid='1000' to='{to}' wait='2' ver='1.6' xml:lang='en' xmpp:version='1.0'/>")
    status, answer = http(browser(host), host, "POST", "/http-bind", body, {"Content-Type": "text/xml; charset=utf-8"})
    assert status == 200 and "mechanisms" in answer
    assert ET.fromstring(answer).get("sid")
    prosody.wait_for_log(f"BOSH session created for request from {ADDRESS}")


def test_websocket_session_has_the_clients_address(prosody, browser):
    framing = "urn:ietf:params:xml:ns:xmpp-framing"
    websocket = WebSocket(browser(HOST), HOST, "/xmpp-websocket", "xmpp")
    websocket.send(f"<open xmlns='{framing}' to='{HOST}' version='1.0'/>")
    assert framing in websocket.receive()
    assert SASL[1:-1] in websocket.receive()
    websocket.send(f"<close xmlns='{framing}'/>")
    seen(prosody, "GET /xmpp-websocket")
    left, right = ("", "") if prosody.version() >= (13,) else "<>"
    prosody.wait_for_log(f"c2s stream for {left}{ADDRESS}{right} closed")


def test_file_is_uploaded_and_fetched(prosody, sender, browser):
    client = login(tls(hand_over(sender)[0], HOST))
    slot = client.ask(f"<iq type='get' id='slot' to='upload.{HOST}'><request xmlns='urn:xmpp:http:upload:0' "
                      "filename='letter.txt' size='5' content-type='text/plain'/></iq>")
    upload = "{urn:xmpp:http:upload:0}"
    put = slot.find(f"{upload}slot/{upload}put")
    get = slot.find(f"{upload}slot/{upload}get").get("url")
    start = "https://web.example"
    assert put.get("url").startswith(start + "/") and get.startswith(start + "/")
    headers = {header.get("name"): header.text for header in put}
    path = put.get("url")[len(start):]
    status, _ = http(browser("web.example"), "web.example", "PUT", path, "hello", {"Content-Type": "text/plain", **headers})
    assert status == 201
    assert http(browser("web.example"), "web.example", "GET", get[len(start):]) == (200, "hello")
    seen(prosody, f"PUT {path.partition('?')[0]}")


def test_certificate_of_http_host_is_renewed_and_comes_with_its_host(prosody, sender, browser):
    before = file_of(prosody, "web.example")
    prosody.make_cert("web.example")
    prosody.make_cert("late.example")
    prosody.make_cert("web-late.example")
    prosody.give_to_prosody()
    prosody.reload()
    prosody.wait_until(lambda: certificate(browser("web.example")) != before)
    assert certificate(browser("web.example")) == file_of(prosody, "web.example")
    assert certificate(browser(HOST)) == file_of(prosody, HOST)

    prosody.components += 'VirtualHost "late.example"\n\thttp_host = "web-late.example"\n'
    prosody.configure()
    prosody.reload()
    shell(prosody, "host activate late.example")
    assert certificate(browser("web-late.example")) == file_of(prosody, "web-late.example")


def test_reload_of_the_web_server_keeps_the_service(prosody, sender, browser):
    seen_before = prosody.log_size()
    shell(prosody, "module reload http")
    prosody.wait_for_log("Connections for http/1.1 go to service https", since=seen_before)
    assert certificate(browser("web.example")) == file_of(prosody, "web.example")
    assert http(browser(HOST), HOST, "GET", "/xmpp-websocket")[0] in (200, 400, 404)


def test_without_the_web_server_browsers_are_refused_with_a_remedy(fresh):
    box = fresh(modules=("c2s", "tls", "saslauth"), disabled=("http", "s2s"))
    sender = Sender(box.socket)
    assert hand_over(sender, alpn=b"http/1.1")[1] == "N"
    assert hand_over(sender, alpn=b"xmpp-server")[1] == "N"
    assert hand_over(sender)[1] == "A"
    for protocol, service in (("http/1.1", "https"), ("xmpp-server", "s2s_direct_tls")):
        box.wait_for_log(f"Refused a connection for protocol {protocol}: service {service} is not active; load the module "
                         "that provides it or remove the protocol from the sender's routes")
