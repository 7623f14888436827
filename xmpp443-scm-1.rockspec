rockspec_format = "3.0"
package = "xmpp443"
version = "scm-1"

source = {
	-- "make rock" makes it, and packs it together with this file.
	url = "xmpp443-scm-1.tar.gz";
}

description = {
	summary = "Share TCP port 443 between Prosody and a web server";
	detailed = [[
		The Prosody side of xmpp443: mod_net_fdpass, which takes over TCP
		connections that another process has accepted, and the C module
		fdpass, which receives them over a Unix socket.
	]];
	license = "MIT";
}

supported_platforms = { "linux" }

dependencies = {
	"lua >= 5.2, < 5.5";
}

build = {
	type = "builtin";
	modules = {
		fdpass = {
			sources = {
				"lua-module/fdpass.c";
				"lua-module/client.c";
				"lua-module/control.c";
				"lua-module/message.c";
				"lua-module/proxied.c";
				"lua-module/proxy.c";
				"lua-module/queue.c";
				"lua-module/recvfd.c";
				"lua-module/unixsock.c";
				"lua-module/v2.c";
			};
			defines = { "_GNU_SOURCE" };
		};
		["mod_net_fdpass.mod_net_fdpass"] = "prosody-plugin/mod_net_fdpass/mod_net_fdpass.lua";
		-- Without .lib, since a dot makes a directory; Prosody looks for both names.
		["mod_net_fdpass.proxied"] = "prosody-plugin/mod_net_fdpass/proxied.lib.lua";
		["mod_net_fdpass.status"] = "prosody-plugin/mod_net_fdpass/status.lib.lua";
	};
	copy_directories = {};
}
