"""A real Prometheus beside the shim, and what it says."""

import json
import urllib.parse

from . import wait
from .http import fetch
from .process import Process, privileges

PORT = 9090


class Prometheus:
    def __init__(self, folder, ns, targets, interval="1s", rules=None):
        folder.mkdir()
        folder.chmod(0o777)
        self.ns = ns
        config = {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": [str(rules)] if rules else [],
            "scrape_configs": [{"job_name": "xmpp443", "static_configs": [{"targets": targets}]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        self.process = Process("Prometheus", ["prometheus", f"--config.file={folder}/prometheus.yml",
                                              f"--storage.tsdb.path={folder}/data", "--log.level=warn",
                                              f"--web.listen-address=127.0.0.1:{PORT}"],
                               folder / "output.log", ns, privileges("nobody", "nogroup"))

    def start(self):
        self.process.start()
        wait.until(lambda: self.query('up{job="xmpp443"} == 1'), "a scrape by Prometheus", 60)
        return self

    def stop(self):
        self.process.stop(60)

    def _get(self, path, **parameters):
        try:
            answer = fetch(self.ns, ("127.0.0.1", PORT), f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        except OSError:
            assert self.process.alive(), self.process.output()
            return None
        if answer.status == 503:  # it is still starting
            return None
        body = json.loads(answer.body)
        assert body["status"] == "success", (parameters, body)
        return body["data"]

    def query(self, expression):
        """[(labels, value)] now; None: it does not answer yet."""
        data = self._get("query", query=expression)
        return data and [(one["metric"], float(one["value"][1])) for one in data["result"]]

    def query_range(self, expression, start, end, step):
        """[(labels, [(time, value)])]"""
        data = self._get("query_range", query=expression, start=start, end=end, step=step)
        return [(one["metric"], [(t, float(v)) for t, v in one["values"]]) for one in data["result"]]

    def rules(self):
        """{name: health}"""
        data = self._get("rules")
        return {rule["name"]: rule["health"] for group in data["groups"] for rule in group["rules"]}
