"""A private Apache httpd: mod_remoteip reads the PROXY header. It has no Unix listeners."""

import textwrap

from .webserver import WebServer

MODULES = "/usr/lib/apache2/modules"


class Apache(WebServer):
    name = "apache"
    tcp4, tcp6 = "127.0.0.1:18543", "[::1]:18543"

    def argv(self):
        return ["/usr/sbin/apache2", "-X", "-f", str(self.config)]

    def configure(self, cert, key):
        loaded = "".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n"
                         for name in ("mpm_event", "authz_core", "alias", "ssl", "http2", "remoteip"))
        return loaded + textwrap.dedent(f"""\
            ServerRoot {self.folder}
            ServerName one.example
            DefaultRuntimeDir {self.folder}
            PidFile {self.folder}/apache.pid
            ErrorLog {self.folder}/error.log
            LogLevel info
            LogFormat "addr=%a port=%{{remote}}p proto=%H uri=%U status=%>s" seen
            CustomLog {self.access} seen
            Listen {self.tcp4}
            Listen {self.tcp6}
            <VirtualHost *:18543>
                RemoteIPProxyProtocol On
                SSLEngine On
                SSLCertificateFile {cert}
                SSLCertificateKeyFile {key}
                Protocols h2 http/1.1
                AliasMatch "^/" "{self.folder}/www/page.txt"
                <Directory "{self.folder}/www">
                    Require all granted
                </Directory>
            </VirtualHost>
            """)
