local fdpass = require "fdpass";
local handoff = require "handoff";

local header, tlv, id_tlv, tcp4 = handoff.header, handoff.tlv, handoff.id_tlv, handoff.tcp4;

describe("fdpass.parse", function ()
	it("reads a message over IPv4", function ()
		assert.same({
			id = handoff.id;
			alpn = "xmpp-client";
			authority = "chat.example.org";
			family = "inet";
			source_ip = "192.0.2.7";
			source_port = 40001;
			dest_ip = "198.51.100.1";
			dest_port = 443;
		}, fdpass.parse(handoff.message(tlv(1, "xmpp-client") .. tlv(2, "chat.example.org"))));
	end);

	it("reads a message over IPv6", function ()
		assert.same({
			id = handoff.id;
			family = "inet6";
			source_ip = "2001:db8::7";
			source_port = 40001;
			dest_ip = "2001:db8::1";
			dest_port = 443;
		}, fdpass.parse(header(handoff.tcp6 .. id_tlv, { family = 0x21 })));
	end);

	it("gives v4-mapped addresses as IPv4", function ()
		local mapped = ("\0"):rep(10) .. "\xff\xff";
		local meta = fdpass.parse(header(mapped .. "\192\0\2\7" .. mapped .. "\198\51\100\1" .. string.pack(">I2I2", 5, 6) .. id_tlv,
			{ family = 0x21 }));
		assert.equal("inet", meta.family);
		assert.equal("192.0.2.7", meta.source_ip);
		assert.equal("198.51.100.1", meta.dest_ip);
	end);

	it("skips TLVs of unknown types", function ()
		assert.truthy(fdpass.parse(handoff.message(tlv(0xe7, "later") .. tlv(4, ""))));
	end);

	it("takes the TLVs in any order", function ()
		local meta = fdpass.parse(header(tcp4 .. tlv(2, "a.example") .. tlv(1, "xmpp-server") .. id_tlv));
		assert.equal("xmpp-server", meta.alpn);
		assert.equal("a.example", meta.authority);
	end);

	-- { what, bytes, reason, id is readable }
	local bad = {
		{ "an empty packet", "", "not a PROXY v2 header" };
		{ "text", "PROXY TCP4 192.0.2.7 198.51.100.1 40001 443\r\n", "not a PROXY v2 header" };
		{ "a wrong signature", "\r\n\r\n\0\r\nQUIT\r" .. handoff.message():sub(13), "not a PROXY v2 header" };
		{ "version 3", header(tcp4 .. id_tlv, { version_command = 0x31 }), "command is not PROXY" };
		{ "command LOCAL", header(tcp4 .. id_tlv, { version_command = 0x20 }), "command is not PROXY", true };
		{ "no family", header(id_tlv, { family = 0x00 }), "not TCP over IPv4 or IPv6", true };
		{ "UDP over IPv4", header(tcp4 .. id_tlv, { family = 0x12 }), "not TCP over IPv4 or IPv6", true };
		{ "UDP over IPv6", header(handoff.tcp6 .. id_tlv, { family = 0x22 }), "not TCP over IPv4 or IPv6", true };
		{ "Unix stream", header(("x"):rep(216) .. id_tlv, { family = 0x31 }), "not TCP over IPv4 or IPv6", true };
		{ "an unknown family", header(tcp4 .. id_tlv, { family = 0x41 }), "not TCP over IPv4 or IPv6" };
		{ "a family that does not fit", header(tcp4, { family = 0x21 }), "ends too early" };
		{ "a length too large", header(tcp4 .. id_tlv, { length = #tcp4 + 12 }), "ends too early", true };
		{ "trailing bytes", handoff.message() .. "x", "trailing bytes", true };
		{ "trailing bytes that look like a TLV", header(tcp4, { length = #tcp4 }) .. id_tlv, "trailing bytes" };
		{ "half a TLV", header(tcp4 .. id_tlv .. "\1\0"), "malformed TLV", true };
		{ "a TLV that is too long", header(tcp4 .. id_tlv .. "\1\0\9xmpp"), "malformed TLV", true };
		{ "garbage ahead of the id", header(tcp4 .. "\1\255\255" .. id_tlv), "malformed TLV" };
		{ "no id", header(tcp4 .. tlv(1, "xmpp-client")), "bad UNIQUE_ID" };
		{ "a short id", header(tcp4 .. tlv(5, "1234567")), "bad UNIQUE_ID" };
		{ "a long id", header(tcp4 .. tlv(5, "123456789")), "bad UNIQUE_ID" };
		{ "two ids", header(tcp4 .. id_tlv .. id_tlv), "bad UNIQUE_ID" };
		{ "a good id and a bad one", header(tcp4 .. id_tlv .. tlv(5, "x")), "bad UNIQUE_ID" };
		{ "an empty ALPN", handoff.message(tlv(1, "")), "bad ALPN", true };
		{ "an ALPN too long", handoff.message(tlv(1, ("x"):rep(256))), "bad ALPN", true };
		{ "two ALPNs", handoff.message(tlv(1, "xmpp-client") .. tlv(1, "xmpp-server")), "bad ALPN", true };
		{ "an empty AUTHORITY", handoff.message(tlv(2, "")), "bad AUTHORITY", true };
		{ "a newline in AUTHORITY", handoff.message(tlv(2, "a.example\nroot")), "bad AUTHORITY", true };
		{ "two AUTHORITYs", handoff.message(tlv(2, "a.example") .. tlv(2, "b.example")), "bad AUTHORITY", true };
	};
	for _, case in ipairs(bad) do
		it("refuses " .. case[1], function ()
			local meta, message, id = fdpass.parse(case[2]);
			assert.is_nil(meta);
			assert.equal(case[3], message);
			assert.equal(case[4] and handoff.id or nil, id);
		end);
	end

	it("refuses every prefix of a good message", function ()
		local good = handoff.message(tlv(1, "xmpp-client") .. tlv(2, "chat.example.org"));
		for n = 0, #good - 1 do
			assert.is_nil((fdpass.parse(good:sub(1, n))));
		end
		assert.truthy(fdpass.parse(good));
	end);
end);
