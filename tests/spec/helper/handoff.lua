-- Builds hand-off messages and TCP connections for the specs.

local socket = require "socket";
local fdsend = require "fdsend";

if not string.pack then -- Lua 5.2
	require "compat53";
end

local handoff = {};

handoff.signature = "\r\n\r\n\0\r\nQUIT\n";
handoff.id = "\1\2\3\4\5\6\7\8";
handoff.tcp4 = string.char(192, 0, 2, 7, 198, 51, 100, 1) .. string.pack(">I2I2", 40001, 443);
handoff.tcp6 = "\x20\x01\x0d\xb8" .. ("\0"):rep(11) .. "\7"
	.. "\x20\x01\x0d\xb8" .. ("\0"):rep(11) .. "\1" .. string.pack(">I2I2", 40001, 443);

function handoff.tlv(kind, value)
	return string.pack(">Bs2", kind, value);
end

handoff.id_tlv = handoff.tlv(5, handoff.id);

--- A header around any body
-- @param overrides version_command, family, length
function handoff.header(body, overrides)
	local o = overrides or {};
	return handoff.signature .. string.pack(">BBI2", o.version_command or 0x21, o.family or 0x11, o.length or #body) .. body;
end

--- A good message, with the given TLVs after the id
function handoff.message(tlvs)
	return handoff.header(handoff.tcp4 .. handoff.id_tlv .. (tlvs or ""));
end

--- Both ends of a TCP connection, as LuaSocket objects
function handoff.tcp_pair(address)
	local server = assert(socket.bind(address or "127.0.0.1", 0));
	local ip, port = server:getsockname();
	local client = assert(socket.connect(ip, port));
	local accepted = assert(server:accept());
	server:close();
	return client, accepted;
end

--- How many descriptors are open, garbage aside
function handoff.count_fds()
	local count = 0;
	collectgarbage();
	collectgarbage();
	for fd = 0, 1023 do
		if fdsend.stat(("/proc/self/fd/%d"):format(fd)) then count = count + 1; end
	end
	return count;
end

--- A directory that is gone after the test run
function handoff.temp_dir()
	local name = os.tmpname();
	os.remove(name);
	assert(os.execute(("mkdir -m 700 '%s'"):format(name)));
	return name;
end

function handoff.remove_dir(name)
	assert(os.execute(("rm -r '%s'"):format(name)));
end

return handoff;
