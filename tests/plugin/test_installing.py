"""Where the plugin and its C module may be installed."""

import subprocess

from clients import hand_over
from prosody_box import REPO, Sender


def test_rock_installs_and_loads(fresh, tmp_path):
    for parent in (tmp_path.parent.parent, tmp_path.parent, tmp_path):
        parent.chmod(0o755)
    source, tree = tmp_path / "source", tmp_path / "tree"
    source.mkdir()
    for part in ("lua-module", "prosody-plugin", "xmpp443-scm-1.rockspec"):
        subprocess.run(["cp", "-r", REPO / part, source], check=True)
    subprocess.run(["luarocks", "--lua-version=5.4", f"--tree={tree}", "make",
                    "xmpp443-scm-1.rockspec"], cwd=source, check=True, capture_output=True)
    box = fresh(plugin_paths=f'installer_plugin_path = "{tree}"')
    assert hand_over(Sender(box.socket))[1] == "A"


def test_missing_c_module_gets_one_clear_line(fresh):
    box = fresh(with_library=False)
    box.wait_for_log("put fdpass.so beside mod_net_fdpass.lua")
    assert box.process.poll() is None
