local socket = require "socket";
local fdpass = require "fdpass";
local fdsend = require "fdsend";
local handoff = require "handoff";

local header, tlv = handoff.header, handoff.tlv;

local hello = "\x16\x03\x01\x00\x05hello";
local tcp4 = { "192.0.2.7", 40001, "inet" };
local tcp6 = { "2001:db8::7", 40001, "inet6" };
local mapped = ("\0"):rep(10) .. "\xff\xff";

-- { what, bytes, address of the client or nil for the proxy's own, alpn }
local good = {
	{ "version 1 over IPv4", "PROXY TCP4 192.0.2.7 198.51.100.1 40001 443\r\n", tcp4 };
	{ "version 1 over IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 40001 443\r\n", tcp6 };
	{ "version 1, v4-mapped", "PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 40001 443\r\n", tcp4 };
	{ "version 1, not written the short way", "PROXY TCP6 2001:0DB8:0:0:0:0:0:7 ::1 40001 443\r\n", tcp6 };
	{ "version 1, UNKNOWN", "PROXY UNKNOWN\r\n" };
	{ "version 1, UNKNOWN and more", "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n" };
	{ "version 1 of the greatest length", "PROXY UNKNOWN " .. ("x"):rep(91) .. "\r\n" };
	{ "version 2 over IPv4", header(handoff.tcp4), tcp4 };
	{ "version 2 over IPv6", header(handoff.tcp6, { family = 0x21 }), tcp6 };
	{ "version 2, v4-mapped", header(mapped .. "\192\0\2\7" .. mapped .. "\198\51\100\1" .. string.pack(">I2I2", 40001, 443),
		{ family = 0x21 }), tcp4 };
	{ "version 2 with an ALPN", header(handoff.tcp4 .. tlv(1, "xmpp-server")), tcp4, "xmpp-server" };
	{ "version 2 with TLVs that say nothing to us", header(handoff.tcp4 .. tlv(2, "a.example\n") .. tlv(3, "crc!") .. tlv(4, "")
		.. tlv(5, ("i"):rep(128)) .. tlv(0xe0, "x")), tcp4 };
	{ "version 2 of the greatest length", header(handoff.tcp4 .. tlv(4, ("\0"):rep(4096 - 16 - 12 - 3))), tcp4 };
	{ "version 2, LOCAL", header("", { version_command = 0x20, family = 0 }) };
	{ "version 2, LOCAL with an address", header(handoff.tcp4, { version_command = 0x20 }) };
	{ "version 2, LOCAL with what is to be ignored", header("\1\2\3", { version_command = 0x20, family = 0xff }) };
	{ "version 2, no family", header("", { family = 0 }) };
	{ "version 2, no family but an ALPN", header(tlv(1, "xmpp-client"), { family = 0 }), nil, "xmpp-client" };
	{ "version 2, Unix", header(("/x"):rep(108), { family = 0x31 }) };
};

-- { what, bytes, reason }
local bad = {
	{ "TLS without a header", hello, "no PROXY header" };
	{ "XMPP without a header", "<?xml version='1.0'?>", "no PROXY header" };
	{ "a lower-case word", "proxy TCP4 192.0.2.7 198.51.100.1 40001 443\r\n", "no PROXY header" };
	{ "a wrong signature", "\r\n\r\n\0\r\nQUIT\r\x21\x11\0\0", "no PROXY header" };
	{ "UDP4", "PROXY UDP4 192.0.2.7 198.51.100.1 40001 443\r\n", "malformed version 1 header" };
	{ "two spaces", "PROXY TCP4  192.0.2.7 198.51.100.1 40001 443\r\n", "malformed version 1 header" };
	{ "a space at the end", "PROXY TCP4 192.0.2.7 198.51.100.1 40001 443 \r\n", "malformed version 1 header" };
	{ "a missing port", "PROXY TCP4 192.0.2.7 198.51.100.1 40001\r\n", "malformed version 1 header" };
	{ "no addresses", "PROXY TCP4\r\n", "malformed version 1 header" };
	{ "nothing", "PROXY \r\n", "malformed version 1 header" };
	{ "only a newline", "PROXY TCP4 192.0.2.7 198.51.100.1 40001 443\n", "malformed version 1 header" };
	{ "a zero byte", "PROXY UNKNOWN\0\r\n", "malformed version 1 header" };
	{ "an address of the other family", "PROXY TCP4 2001:db8::7 2001:db8::1 40001 443\r\n", "malformed version 1 header" };
	{ "an octet with a leading zero", "PROXY TCP4 192.0.02.7 198.51.100.1 40001 443\r\n", "malformed version 1 header" };
	{ "a name", "PROXY TCP4 localhost 198.51.100.1 40001 443\r\n", "malformed version 1 header" };
	{ "a zone", "PROXY TCP6 fe80::1%lo fe80::2 40001 443\r\n", "malformed version 1 header" };
	{ "a port too large", "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n", "malformed version 1 header" };
	{ "a port with a leading zero", "PROXY TCP4 192.0.2.7 198.51.100.1 040001 443\r\n", "malformed version 1 header" };
	{ "a port with a sign", "PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n", "malformed version 1 header" };
	{ "an empty port", "PROXY TCP4 192.0.2.7 198.51.100.1 40001 \r\n", "malformed version 1 header" };
	{ "a line too long", "PROXY UNKNOWN " .. ("x"):rep(92) .. "\r\n", "malformed version 1 header" };
	{ "version 3", header(handoff.tcp4, { version_command = 0x31 }), "unknown version or command" };
	{ "an unknown command", header(handoff.tcp4, { version_command = 0x22 }), "unknown version or command" };
	{ "UDP over IPv4", header(handoff.tcp4, { family = 0x12 }), "not a stream over IPv4, IPv6 or Unix" };
	{ "an unknown family", header(handoff.tcp4, { family = 0x41 }), "not a stream over IPv4, IPv6 or Unix" };
	{ "an address that does not fit", header(handoff.tcp4, { family = 0x21 }), "malformed addresses or TLV" };
	{ "half a TLV", header(handoff.tcp4 .. "\1\0"), "malformed addresses or TLV" };
	{ "a TLV that is too long", header(handoff.tcp4 .. "\1\0\9xmpp"), "malformed addresses or TLV" };
	{ "an empty ALPN", header(handoff.tcp4 .. tlv(1, "")), "malformed addresses or TLV" };
	{ "an ALPN too long", header(handoff.tcp4 .. tlv(1, ("x"):rep(256))), "malformed addresses or TLV" };
	{ "two ALPNs", header(handoff.tcp4 .. tlv(1, "a") .. tlv(1, "b")), "malformed addresses or TLV" };
	{ "a header too long", header(handoff.tcp4 .. tlv(4, ("\0"):rep(4096 - 16 - 12 - 2))), "header too long" };
};

describe("proxied connection", function ()
	local proxy, accepted, proxied;

	local function connect(address)
		proxy, accepted = handoff.tcp_pair(address);
		proxy:setoption("tcp-nodelay", true);
		proxied = fdpass.proxied(accepted:getfd());
		accepted:setfd(-1);
	end

	--- Waits until everything sent so far can be read
	local function arrived(fd)
		for _ = 1, 1000 do
			if fdsend.readable(fd) then return; end
			socket.sleep(0.001);
		end
		error("nothing has come");
	end

	local function send(bytes)
		assert(proxy:send(bytes));
		arrived(proxied:getfd());
	end

	before_each(function () connect(); end);

	after_each(function ()
		proxied:close();
		proxy:close();
	end);

	for _, case in ipairs(good) do
		it("takes exactly the header: " .. case[1], function ()
			send(case[2] .. hello);
			local client, meta = proxied:receive();
			assert.is_truthy(client, meta);
			assert.equal(-1, proxied:getfd());
			assert.equal(case[4], meta.alpn);
			assert.equal(case[3] == nil, meta.unproxied);
			local own_ip, own_port = proxy:getsockname();
			local address = case[3] or { own_ip, tonumber(own_port), "inet" };
			assert.same(address, { client:getpeername() });
			assert.same(address, { meta.source_ip, meta.source_port, meta.family });
			assert.equal(hello, fdsend.recv(client:getfd()));
			client:close();
		end);

		it("takes it byte by byte, and is never woken for nothing: " .. case[1], function ()
			for n = 1, #case[2] - 1 do
				send(case[2]:sub(n, n));
				assert.same({ nil, "timeout" }, { proxied:receive() });
				assert.is_false(fdsend.readable(proxied:getfd()));
			end
			send(case[2]:sub(-1) .. hello);
			local client = assert(proxied:receive());
			assert.equal(hello, fdsend.recv(client:getfd()));
			client:close();
		end);
	end

	for _, case in ipairs(bad) do
		it("refuses " .. case[1], function ()
			send(case[2] .. hello);
			assert.same({ nil, "invalid", case[3] }, { proxied:receive() });
		end);
	end

	it("is not finished by any part of a header", function ()
		for _, case in ipairs(good) do
			assert.equal(#case[2], fdpass.parse_proxy(case[2]));
			assert.equal(#case[2], fdpass.parse_proxy(case[2] .. hello));
			for n = 0, #case[2] - 1 do
				assert.same({ nil, "ends too early" }, { fdpass.parse_proxy(case[2]:sub(1, n)) });
			end
		end
	end);

	it("has the proxy's own address in IPv6 too", function ()
		proxied:close();
		proxy:close();
		connect("::1");
		send("PROXY UNKNOWN\r\n");
		local client = assert(proxied:receive());
		local _, port = proxy:getsockname();
		assert.same({ "::1", tonumber(port), "inet6" }, { client:getpeername() });
		assert.equal("::1", (client:getsockname()));
		client:close();
	end);

	it("waits", function ()
		assert.same({ nil, "timeout" }, { proxied:receive() });
	end);

	it("says when the proxy has gone", function ()
		send("PROXY");
		assert.same({ nil, "timeout" }, { proxied:receive() });
		proxy:close();
		arrived(proxied:getfd());
		assert.same({ nil, "closed" }, { proxied:receive() });
	end);

	it("says when the proxy has reset it", function ()
		proxy:setoption("linger", { on = true, timeout = 0 });
		proxy:close();
		arrived(proxied:getfd());
		assert.same({ nil, "closed" }, { proxied:receive() });
	end);

	it("gives a client that has finished sending", function ()
		send("PROXY UNKNOWN\r\n");
		proxy:close();
		assert.truthy(proxied:receive());
	end);

	it("does not block and is not inherited", function ()
		local cloexec, nonblock = fdsend.flags(proxied:getfd());
		assert.is_true(cloexec and nonblock);
	end);

	it("owns its descriptor until the client does", function ()
		local before = handoff.count_fds();
		proxied = nil; -- luacheck: ignore 311
		assert.equal(before - 1, handoff.count_fds());
		connect();
		send("PROXY UNKNOWN\r\n");
		local client = assert(proxied:receive());
		proxied:close();
		assert.truthy(fdsend.stat("/proc/self/fd/" .. client:getfd()));
		client = nil; -- luacheck: ignore 311
		assert.equal(before - 1, handoff.count_fds());
	end);

	it("cannot be used once closed", function ()
		proxied:close();
		assert.equal(-1, proxied:getfd());
		assert.has_error(function () proxied:receive(); end);
		assert.has_error(function () fdpass.proxied(-1); end);
		assert.has_error(function () fdpass.proxied("x"); end);
	end);
end);
