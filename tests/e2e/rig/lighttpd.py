"""A private lighttpd: mod_extforward reads the PROXY header."""

import textwrap

from .webserver import WebServer


class Lighttpd(WebServer):
    name = "lighttpd"
    tcp4, tcp6 = "127.0.0.1:18643", "[::1]:18643"
    unix = True

    def argv(self):
        return ["/usr/sbin/lighttpd", "-D", "-f", str(self.config)]

    def configure(self, cert, key):
        socket = self.unix.removeprefix("unix:")
        return textwrap.dedent(f"""\
            server.modules = ( "mod_openssl", "mod_rewrite", "mod_extforward", "mod_accesslog" )
            server.document-root = "{self.folder}/www"
            server.errorlog = "{self.folder}/error.log"
            url.rewrite-once = ( "^/(.*)$" => "/page.txt?$1" )
            mimetype.assign = ( ".txt" => "text/plain" )
            server.bind = "127.0.0.1"
            server.port = 18643
            $SERVER["socket"] == "{self.tcp6}" {{ ssl.engine = "enable" }}
            $SERVER["socket"] == "{socket}" {{
                ssl.engine = "enable"
                server.socket-perms = "0666"
            }}
            ssl.engine = "enable"
            ssl.pemfile = "{cert}"
            ssl.privkey = "{key}"
            extforward.hap-PROXY = "enable"
            extforward.forwarder = ( "all" => "trust" )
            accesslog.filename = "|exec cat >>{self.access}" # to a file it would write every 4 s only
            accesslog.format = "addr=%a proto=%H uri=/%q status=%>s"
            """)
