"""Good and broken domains: what is said to be wrong, and what to change. One row each."""

import pytest

from domain_world import FRONTS, IDN, NO_RESOLVER, RESOLVER, V4, V6

# domain: {(id, verdict): words of the advice} for all that is worse than a note
BROKEN = {
    # DNS
    "nosrv.example": {("srv-xmpps-client", "error"): "_xmpps-client._tcp.nosrv.example. SRV 5 1 443 nosrv.example."},
    "old.example": {("srv-xmpps-client", "warning"): "_xmpps-client._tcp.old.example. SRV 5 1 443 old.example."},
    "refused.example": {("srv-xmpps-client", "warning"): "Replace it"},
    "alias.example": {("target", "warning"): "Put one.example into the SRV record"},
    "noaddress.example": {("target", "error"): "Add A and AAAA records for empty.example"},
    "noname.example": {("target", "error"): "Correct the SRV record's target"},
    "nothere.example": {("domain", "error"): "Correct the spelling"},
    "port.example": {("srv-xmpps-client", "warning"): "SRV 5 1 443 port.example.",
                     ("tcp", "error"): "correct the SRV record: the shim's port is 443"},
    "only6.example": {("target", "warning"): "Add an A record for only6.example"},
    "bogus.example": {("dnssec", "error"): "Sign the zone anew", ("tcp", "error"): "Correct the A record"},
    "caa.example": {("caa", "warning"): "No authority may issue certificates"},
    "badtlsa.example": {("tlsa", "error"): "Publish a record for the certificate in use at _443._tcp.badtlsa.example"},
    # addresses
    "dead6.example": {("tcp", "error"): "Correct the AAAA record of dead6.example"},
    "down.front.example": {("tcp", "error"): "Start the shim"},
    # certificates
    "expired.example": {("certificate", "error"): "Renew it", ("web-certificate", "error"): "Renew it"},
    "soon.example": {("certificate", "warning"): "Look why it has not been renewed",
                     ("web-certificate", "warning"): "Look why it has not been renewed"},
    "future.example": {("certificate", "error"): "Set the clock", ("web-certificate", "error"): "Set the clock"},
    "wrong.example": {("certificate", "error"): "Get a certificate for wrong.example",
                      ("web-certificate", "error"): "Get a certificate for wrong.example"},
    "selfsigned.example": {("certificate", "error"): "Let's Encrypt", ("web-certificate", "error"): "Let's Encrypt"},
    "incomplete.example": {("certificate", "error"): "fullchain.pem", ("web-certificate", "error"): "fullchain.pem"},
    # the servers
    "unknown.example": {("xmpps-client", "error"): 'VirtualHost "unknown.example"',
                        ("xmpps-server", "error"): 'VirtualHost "unknown.example"',
                        ("web-certificate", "error"): "Get a certificate for unknown.example"},
    "bare.front.example": {("http1", "error"): "proxy_protocol"},
    "plain.front.example": {("http1", "error"): "plain HTTP", ("plain-http", "warning"): "only TLS"},
    "middlebox.front.example": {("xmpps-client", "error"): "nothing in front of it (proxy, load balancer, CDN) may end TLS"},
    "web-only.front.example": {("xmpps-client", "error"): "Let xmpp443-shim have port 443"},
    "web-down.front.example": {("http1", "error"): "whether the web server runs"},
    "half-blind.front.example": {("split-records", "error"): "only at the beginning of the hello"},
    "no-sasl.front.example": {("xmpps-client", "error"): "saslauth"},
    "chat2.example": {("tcp", "error"): "c2s_ports"},
    "no-tls.front.example": {("xmpp-client", "error"): "Give Prosody a certificate"},
    "late.front.example": {("clock", "warning"): "Set the clock that is wrong"},
}
# These hang: they are given little time.
HANGING = {
    "dead4.example": {("tcp", "error"): "remove the A record of dead4.example"},
    "no-module.front.example": {("xmpps-client", "error"): "net_fdpass"},
    "silent.front.example": {("xmpps-client", "error"): "Look what listens on port 443",
                             ("http1", "error"): "Look what listens on port 443"},
}
HEALTHY = ("one.example", IDN, "hosted.example", "only4.example", "tlsa.example", "insecure.example", "preferred.example",
           "noroute.example", "direct.front.example")


def judge(said, wanted):
    assert set(said.worst()) == set(wanted), str(said)
    for (check_id, verdict), words in wanted.items():
        for one in said[check_id]:
            if one["verdict"] == verdict:
                assert words in one["advice"], str(said)
    assert said.code == (2 if any(verdict == "error" for _, verdict in wanted) else 1)
    assert said.report["exit_code"] == said.code


@pytest.mark.parametrize("domain", HEALTHY)
def test_healthy(world, domain):
    said = world.check(domain)
    assert not said.worst(), str(said)
    assert said.code == 0


@pytest.mark.parametrize("domain", BROKEN)
def test_broken(world, domain):
    judge(world.check(domain), BROKEN[domain])


@pytest.mark.parametrize("domain", HANGING)
def test_hanging(world, domain):
    judge(world.check(domain, timeout=4), HANGING[domain])


def test_every_step_of_a_healthy_domain(world):
    said = world.check("one.example")
    for address in (V4, f"[{V6}]"):
        client = said.one("xmpps-client", address)
        assert client["data"]["alpn"] == "xmpp-client" and client["data"]["tls_version"] == "TLSv1.3"
        assert client["ms"] == client["data"]["tls_ms"] + client["data"]["answer_ms"]
        assert said.one("certificate", address)["data"]["days_left"] in (59, 60)
        assert said.one("certificate", address)["data"]["chain_length"] == 2
        assert {"SCRAM-SHA-1", "PLAIN"} <= set(said.one("sasl", address)["data"]["mechanisms"])
        assert said.one("http1", address)["data"]["status"] == 200
        assert said.one("no-alpn", address)["data"]["reaches"] == "web"
        for check_id in ("tcp", "xmpps-server", "big-hello", "split-segments", "split-records", "h2", "plain-http", "web-certificate"):
            assert said.one(check_id, address)["verdict"] == "ok", str(said)
    assert said.one("srv-xmpps-client")["data"] == {
        "records": [{"priority": 5, "weight": 1, "port": 443, "target": "one.example"}], "dnssec": "secure"}
    assert said.one("srv-xmpp-client")["verdict"] == "note"
    assert said.one("dnssec")["verdict"] == said.one("caa")["verdict"] == "ok"
    assert said.one("target")["data"]["addresses"] == [V4, V6]


def test_records_are_in_the_order_in_which_clients_try_them(world):
    records = world.check("preferred.example", "-4").one("srv-xmpps-client")["data"]["records"]
    assert [(one["priority"], one["weight"]) for one in records] == [(5, 9), (5, 1), (10, 1)]


def test_the_domains_names_are_not_the_hosts(world):
    """XMPP clients ask for the domain, browsers for the host."""
    said = world.check("hosted.example", "-4")
    assert said.one("certificate")["data"]["names"] == "hosted.example"
    assert said.one("web-certificate")["data"]["names"] == "one.example"


def test_starttls(world):
    said = world.check("direct.front.example")
    for check_id, port in (("xmpp-client", 5222), ("xmpp-server", 5269)):
        assert said.one(check_id, f":{port}")["verdict"] == "ok", str(said)
        assert said.one(check_id, f":{port}")["data"]["tls_version"] == "TLSv1.3"
    assert said.one("no-alpn", ":443")["data"]["reaches"] == "xmpp"
    assert "no web server" in said.one("http1")["summary"]


def test_signatures(world):
    assert world.check("insecure.example", "-4").one("dnssec")["verdict"] == "note"
    assert "not signed" in world.check("insecure.example", "-4").one("dnssec")["summary"]
    assert "signatures are wrong" in world.check("bogus.example", "-4").one("dnssec")["summary"]
    assert world.check("tlsa.example", "-4").one("tlsa")["data"] == {"records": 1, "matching": 1}


def test_a_resolver_without_signatures(world):
    """With the root's keys, which this resolver knows nothing of."""
    code, out, _ = world.run("--resolver", RESOLVER, "--ca-file", world.certificates.ca_file, "one.example")
    assert "does not pass signatures on" in out and code == 0


def test_no_resolver_answers(world):
    said = world.check("one.example", "--resolver", NO_RESOLVER, timeout=2)
    assert said.worst() == [("resolver", "error")] and len(said.report["checks"]) == 1
    assert "--resolver" in said.one("resolver")["advice"] and said.code == 2


def test_a_resolver_that_does_not_know(world):
    said = world.check("somebody.elses")
    assert said.worst() == [("resolver", "error")], str(said)
    assert "REFUSED" in said.one("resolver")["summary"] or "SERVFAIL" in said.one("resolver")["summary"]


def test_an_authority_that_is_not_known_here(world):
    code, out, _ = world.run("--resolver", RESOLVER, "--json", "one.example")
    assert code == 2 and "no authority that is trusted here" in out


def test_address_families(world):
    four, six = (world.check("one.example", option) for option in ("-4", "-6"))
    assert not any(V6 in one["subject"] for one in four.report["checks"])
    assert not any(f" {V4}:" in one["subject"] for one in six.report["checks"])
    assert four.one("tcp") and six.one("tcp") and four.code == six.code == 0
    assert world.check("only4.example", "-6").worst() == [("target", "error")]


def test_without_a_route_to_an_address(world):
    one = world.check("noroute.example").one("tcp", "2001:db9::1")
    assert one["verdict"] == "note" and "this machine has no IPv6" in one["summary"]


@pytest.mark.parametrize("where", (f"{V4}:443", f"[{V6}]:443", "one.example:443"))
def test_connect(world, where):
    """Past the SRV records, which are wrong."""
    said = world.check("port.example", "--connect", where)
    assert not said.worst() and not said["srv-xmpps-client"], str(said)
    assert said["xmpps-client"] and said.code == 0


def test_connect_to_the_port_of_starttls(world):
    said = world.check("direct.front.example", "--connect", f"{FRONTS['direct']}:5222")
    assert said.one("xmpp-client")["verdict"] == "ok" and not said["xmpps-client"]


def test_idn(world):
    for name in ("bücher.example", "BÜCHER.example", IDN, "user@bücher.example/phone"):
        said = world.check(name, "-4")
        assert said.report["domain"] == {"unicode": "bücher.example", "ascii": IDN} and said.code == 0


def test_it_never_authenticates(world):
    """Nothing that looks like a login reaches Prosody."""
    before = len(world.prosody.text())
    world.check("one.example")
    seen = world.prosody.text()[before:]
    assert "Received[c2s_unauthed]: <auth" not in seen and "<auth " not in seen
