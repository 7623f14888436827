#!/usr/bin/python3
"""Records what doc/checking.md shows: two domains of the test's world, as text and as a picture of a terminal.

usage: sudo tests/check/record.py DIRECTORY      (needs python3-pil and fonts-dejavu-core, which the tests do not)

Writes DIRECTORY/healthy.txt, broken.txt, local.txt, json.txt and broken.png.
"""

import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

from domain_world import FRONTS, DomainWorld, PortProsody  # noqa: E402
from terminal import on_a_terminal  # noqa: E402

COLUMNS = 96
SIZE, LINE, MARGIN = 15, 19, 16
COLOURS = {"0": "#d8d8d8", "1": "#ffffff", "32": "#7ec07e", "36": "#6fb7c9", "33": "#e0b050", "1;31": "#ff6b60"}
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono{}.ttf"


def shown(text, world):
    """As the reader's own terminal would show it: the files of the test's world are where they usually are."""
    for path, usual in ((world.folder / "shim-no-module" / "shim.conf", "/etc/xmpp443/shim.conf"), (world.folder / "prosody", "/run/prosody"), ("nothing.sock", "fdpass.sock"),
                        (world.nginx.access, "/var/log/nginx/access.log")):
        text = text.replace(str(path), usual)
    return text


def picture(command, text, file):
    from PIL import Image, ImageDraw, ImageFont
    fonts = {bold: ImageFont.truetype(FONT.format("-Bold" if bold else ""), SIZE) for bold in (False, True)}
    width = fonts[False].getlength("M")
    text = re.sub(r"\r?[^\n]*\x1b\[K", "", text)  # the progress that was there
    lines = f"$ {command}\n{text}".rstrip("\n").split("\n")
    image = Image.new("RGB", (int(COLUMNS * width) + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN), "#1e2024")
    draw = ImageDraw.Draw(image)
    colour = "0"
    for row, line in enumerate(lines):
        column = 0
        for piece in re.split(r"(\x1b\[[0-9;]*m)", line):
            if piece.startswith("\x1b"):
                colour = piece[2:-1]
                continue
            draw.text((MARGIN + column * width, MARGIN + row * LINE), piece, fill=COLOURS[colour], font=fonts["1" in colour.split(";")])
            column += len(piece)
    image.quantize(96, method=Image.Quantize.FASTOCTREE).save(file, optimize=True)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    target = pathlib.Path(sys.argv[1])
    target.mkdir(exist_ok=True)
    with DomainWorld() as world:
        # Prosody as it was before the shim came: no net_fdpass yet.
        chat = world.up(PortProsody(world.folder / "prosody-chat", world.server, {"chat.example": world.of["chat.example"]}, f"""
            interfaces = {{ "{FRONTS['no-module']}" }}
            modules_enabled = {{ "roster", "saslauth", "disco", "tls", "admin_shell", "e2e_announce" }}
            c2s_ports = {{ 5222 }}
            """))
        for name, domain in (("healthy", "one.example"), ("broken", "chat.example")):
            (target / f"{name}.txt").write_text(world.run(*world.usual(), domain)[1])
        picture("xmpp443-check chat.example", on_a_terminal(world, *world.usual(), "chat.example", columns=COLUMNS), target / "broken.png")
        local = ["--local", "-c", world.folder / "shim-no-module" / "shim.conf", "--ca-file", world.certificates.ca_file, "--prosody-config",
                 chat.folder / "prosody.cfg.lua", "--web-log", world.nginx.access, "chat.example"]
        (target / "local.txt").write_text(shown(world.run(*local, ns=world.server)[1], world))
        out = world.run("--json", *world.usual(), "chat.example")[1]
        (target / "json.txt").write_text(subprocess.run(
            ["jq", '.checks[] | select(.verdict == "error")'], input=out, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
