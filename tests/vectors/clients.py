"""The TLS clients whose hellos are recorded: what is run, and what its hello has to say.

SNI and ALPN names are what the command or the client's documentation promises; tshark has to read the same.
"""

from typing import NamedTuple


class Client(NamedTuple):
    name: str  # of the vector, ok-real-NAME.bin
    debian: int
    packages: str
    command: str  # for bash, in an empty directory; {port} of 127.0.0.1 and {here}, the folder of the small programs
    sni: str
    alpn: str  # names parted by commas, "-": none


S_CLIENT = "openssl s_client -connect 127.0.0.1:{port}"
GNUTLS = "gnutls-cli --insecure -p {port} 127.0.0.1"
CURL = "curl -sk -m 9 --resolve web.example.org:{port}:127.0.0.1 https://web.example.org:{port}/"
# wget can be given no address for a name, so it gets one that is loopback anywhere.
WGET = "wget -q -t 1 --no-check-certificate https://localhost:{port}/"
MBEDTLS = "cc -o client {here}/mbedtls.c -lmbedtls -lmbedx509 -lmbedcrypto && ./client {port}"
WOLFSSL = "cc -o client {here}/wolfssl.c -lwolfssl && ./client {port}"
TSTCLNT = "tstclnt -h 127.0.0.1 -p {port} -a chat.example.org -o -D"
GO_SENDXMPP = "echo hello | go-sendxmpp --tls -u user@chat.example.org -p secret -j 127.0.0.1:{port} to@chat.example.org"
CHROMIUM = ("chromium --headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
            "--disable-sync --no-first-run --user-data-dir=$PWD --host-resolver-rules='MAP web.example.org 127.0.0.1' "
            "https://web.example.org:{port}/")

CLIENTS = [
    Client("openssl-tls13", 12, "openssl", f"{S_CLIENT} -tls1_3 -servername chat.example.org -alpn xmpp-client",
           "chat.example.org", "xmpp-client"),
    Client("openssl-tls12", 12, "openssl", f"{S_CLIENT} -tls1_2 -servername chat.example.org -alpn h2,http/1.1",
           "chat.example.org", "h2,http/1.1"),
    Client("openssl-bare", 12, "openssl", f"{S_CLIENT} -noservername", "-", "-"),
    Client("openssl-tls12-no-sni-xmpp-server", 12, "openssl", f"{S_CLIENT} -tls1_2 -noservername -alpn xmpp-server",
           "-", "xmpp-server"),
    Client("openssl-13", 13, "openssl", f"{S_CLIENT} -servername chat.example.org -alpn xmpp-client",
           "chat.example.org", "xmpp-client"),
    Client("gnutls", 12, "gnutls-bin", f"{GNUTLS} --sni-hostname=chat.example.org --alpn=xmpp-client",
           "chat.example.org", "xmpp-client"),
    Client("gnutls-no-alpn", 12, "gnutls-bin", f"{GNUTLS} --sni-hostname=old.example.org", "old.example.org", "-"),
    Client("gnutls-13", 13, "gnutls-bin", f"{GNUTLS} --sni-hostname=chat.example.org --alpn=xmpp-client",
           "chat.example.org", "xmpp-client"),
    Client("nss", 12, "libnss3-tools", TSTCLNT, "chat.example.org", "-"),
    Client("nss-13", 13, "libnss3-tools", TSTCLNT, "chat.example.org", "-"),
    Client("curl-nss", 12, "python3 libcurl3-nss", "/usr/bin/python3 {here}/curl_nss.py {port} web.example.org",
           "web.example.org", "http/1.1,h2"),  # NSS puts the preferred one last
    Client("mbedtls", 12, "gcc libc6-dev libmbedtls-dev", f"{MBEDTLS} chat.example.org xmpp-client",
           "chat.example.org", "xmpp-client"),
    Client("mbedtls-13", 13, "gcc libc6-dev libmbedtls-dev", f"{MBEDTLS} chat.example.org xmpp-client h2",
           "chat.example.org", "xmpp-client,h2"),
    Client("wolfssl", 12, "gcc libc6-dev libwolfssl-dev", f"{WOLFSSL} chat.example.org xmpp-client",
           "chat.example.org", "xmpp-client"),
    Client("wolfssl-13", 13, "gcc libc6-dev libwolfssl-dev", f"{WOLFSSL} chat.example.org xmpp-client",
           "chat.example.org", "xmpp-client"),
    Client("java", 12, "openjdk-17-jdk-headless", "java {here}/Client.java {port} chat.example.org xmpp-client",
           "chat.example.org", "xmpp-client"),
    Client("python", 12, "python3", "/usr/bin/python3 {here}/python_ssl.py {port} py.example.org xmpp-client h2",
           "py.example.org", "xmpp-client,h2"),
    Client("curl-h2", 12, "curl", f"{CURL} --http2", "web.example.org", "h2,http/1.1"),
    Client("curl-13", 13, "curl", f"{CURL} --http1.1", "web.example.org", "http/1.1"),
    Client("wget", 12, "wget", WGET, "localhost", "-"),
    Client("wget-13", 13, "wget", WGET, "localhost", "-"),
    Client("chromium", 12, "chromium", CHROMIUM, "web.example.org", "h2,http/1.1"),
    Client("firefox", 12, "firefox-esr", "{here}/firefox {port} web.example.org", "web.example.org", "h2,http/1.1"),
    Client("go-sendxmpp", 12, "go-sendxmpp", GO_SENDXMPP, "chat.example.org", "xmpp-client"),
    Client("go-sendxmpp-13", 13, "go-sendxmpp", GO_SENDXMPP, "chat.example.org", "xmpp-client"),
    # The older slixmpp names the host that it connects to, and an address is no name.
    Client("slixmpp", 12, "python3-slixmpp", "/usr/bin/python3 {here}/slixmpp_client.py {port} chat.example.org", "-", "-"),
    Client("slixmpp-13", 13, "python3-slixmpp", "/usr/bin/python3 {here}/slixmpp_client.py {port} chat.example.org",
           "chat.example.org", "-"),
    Client("nbxmpp", 12, "python3-nbxmpp glib-networking", "/usr/bin/python3 {here}/nbxmpp_client.py {port} chat.example.org",
           "chat.example.org", "xmpp-client"),
    Client("nbxmpp-13", 13, "python3-nbxmpp glib-networking", "/usr/bin/python3 {here}/nbxmpp_client.py {port} chat.example.org",
           "chat.example.org", "xmpp-client"),
    Client("profanity", 12, "profanity", "{here}/profanity {port} chat.example.org", "chat.example.org", "-"),
    Client("profanity-13", 13, "profanity bsdutils", "{here}/profanity {port} chat.example.org", "chat.example.org", "-"),
]
