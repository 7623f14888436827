-- A service of its own behind xmpp443-shim: tells each client its address, over TLS, and ends the connection.
--
--   lua5.4 whoami.lua SOCKET CERTIFICATE KEY       needs lua-socket, lua-sec, and fdpass (luarocks --lua-version=5.4 make)
--
-- shim.conf:   [route whoami]                      Try it:   openssl s_client -quiet -connect HOST:443 -alpn whoami
--              alpn = whoami
--              fdpass = SOCKET
--
-- SOCKET is made in a directory that belongs to the user this runs as. doc/protocol.md says what the answers mean.

local socket, ssl, fdpass = require "socket", require "ssl", require "fdpass";

local path, certificate, key = ...;
local context = assert(ssl.newcontext {
	mode = "server", protocol = "any", certificate = certificate, key = key, alpn = { "whoami" };
});
local trusted = { [0] = true, [fdpass.geteuid()] = true, [fdpass.getuid("xmpp443") or 0] = true };
local listener = assert(fdpass.listen(path));
local watched = { listener }; -- and a control connection from each of the shim's workers
local recent, older, count = {}, {}, 0; -- ids of what was adopted: it may come again if an answer got lost

local function serve(client, meta) -- any LuaSocket code, one client at a time here
	client:settimeout(5);
	local tls = ssl.wrap(client, context);
	if tls and tls:dohandshake() then
		tls:send(("You are %s, port %d\n"):format(meta.source_ip, meta.source_port));
	end
	(tls or client):close();
end

local function adopt(control, adopted, meta)
	local known = recent[meta.id] or older[meta.id];
	control:send("A"..meta.id); -- the shim lets go of it: before its first byte is read
	if known then return adopted:close(); end
	if count >= 10000 then recent, older, count = {}, recent, 0; end
	recent[meta.id], count = true, count + 1;
	serve(assert(fdpass.tosocket(adopted)), meta);
end

local answers = { gone = "A", limit = "R", invalid = "N" };

while true do
	for _, ready in ipairs((socket.select(watched))) do
		if ready == listener then
			local control = listener:accept();
			if control and trusted[select(2, control:peercred())] then
				table.insert(watched, control);
			elseif control then
				control:close();
			end
		else
			local adopted, meta, id = ready:receive();
			if adopted then
				adopt(ready, adopted, meta);
			elseif answers[meta] and id then
				ready:send(answers[meta]..id);
			elseif meta ~= "timeout" then -- the shim has ended, or does not speak the protocol
				ready:close();
				for i, one in ipairs(watched) do
					if one == ready then table.remove(watched, i); break; end
				end
			end
		end
	end
end
