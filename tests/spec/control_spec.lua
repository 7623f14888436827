local socket = require "socket";
local fdpass = require "fdpass";
local fdsend = require "fdsend";
local handoff = require "handoff";

describe("control connection", function ()
	local dir, listener, sender, control, client, accepted, fd, fds_before;

	before_each(function ()
		dir = handoff.temp_dir();
		listener = fdpass.listen(dir .. "/s");
		sender = fdsend.unix("seqpacket", dir .. "/s");
		control = listener:accept();
		client, accepted = handoff.tcp_pair();
		fd = accepted:getfd();
		fds_before = handoff.count_fds();
	end);

	after_each(function ()
		assert.equal(fds_before, handoff.count_fds());
		for _, s in ipairs { client, accepted, control, listener } do s:close(); end
		fdsend.close(sender);
		handoff.remove_dir(dir);
	end);

	local function receive(data, ...)
		fdsend.send(sender, data, { ... });
		return control:receive();
	end

	--- Sends a good message with bad descriptors; the answer is N, for this reason
	local function refused(reason, ...)
		local sock, result, id, why = receive(handoff.message(), ...);
		assert.is_nil(sock);
		assert.same({ "invalid", handoff.id, reason }, { result, id, why });
		assert.equal(fds_before, handoff.count_fds());
	end

	it("says when there is nothing", function ()
		assert.same({ nil, "timeout" }, { control:receive() });
	end);

	it("receives a connection", function ()
		local sock, meta = receive(handoff.message(handoff.tlv(1, "xmpp-client")), fd);
		assert.equal("userdata", type(sock));
		assert.equal(handoff.id, meta.id);
		assert.equal("xmpp-client", meta.alpn);
		assert.equal(fds_before + 1, handoff.count_fds());
		assert.same({ true, true }, { fdsend.flags(sock:getfd()) });
		sock:close();
	end);

	it("closes a connection that is garbage", function ()
		receive(handoff.message(), fd);
		assert.equal(fds_before, handoff.count_fds());
	end);

	it("receives one packet at a time, in order", function ()
		for i = 1, 3 do
			fdsend.send(sender, handoff.header(handoff.tcp4 .. handoff.tlv(5, ("id %05d"):format(i))), { fd });
		end
		for i = 1, 3 do
			local sock, meta = control:receive();
			assert.equal(("id %05d"):format(i), meta.id);
			sock:close();
		end
		assert.same({ nil, "timeout" }, { control:receive() });
	end);

	it("refuses a message without a descriptor", function ()
		refused("no descriptor");
	end);

	it("refuses more than one descriptor", function ()
		refused("more than one descriptor", fd, fd);
		refused("more than one descriptor", fd, fd, fd);
		refused("more than one descriptor", fd, fd, fd, fd, fd, fd, fd, fd, fd, fd);
	end);

	it("refuses what is not a connected TCP socket", function ()
		local why = "not a connected TCP socket";
		local kinds = {
			file = { fdsend.dup(0) };
			pipe = { fdsend.pipe() };
			udp = { fdsend.inet("udp") };
			unix = { fdsend.pair() };
		};
		local tcp = socket.bind("127.0.0.1", 0);
		fds_before = handoff.count_fds();
		for _, fds in pairs(kinds) do
			refused(why, fds[1]);
		end
		refused(why, sender);
		refused(why, tcp:getfd());
		for _, fds in pairs(kinds) do fdsend.close(table.unpack(fds)); end
		tcp:close();
		fds_before = handoff.count_fds();
	end);

	it("reports a socket without a peer as gone", function ()
		local unconnected = fdsend.inet("tcp", "inet6");
		fds_before = handoff.count_fds();
		assert.same({ nil, "gone", handoff.id }, { receive(handoff.message(), unconnected) });
		assert.equal(fds_before, handoff.count_fds());
		fdsend.close(unconnected);
		fds_before = handoff.count_fds();
	end);

	it("reports a client that has reset its connection as gone", function ()
		client:setoption("linger", { on = true, timeout = 0 });
		client:close();
		assert.same({ nil, "gone", handoff.id }, { receive(handoff.message(), fd) });
		fds_before = fds_before - 1;
	end);

	it("adopts a client that has only finished sending", function ()
		client:shutdown("send");
		local sock = receive(handoff.message(), fd);
		assert.equal("userdata", type(sock));
		sock:close();
	end);

	it("closes the descriptor of a malformed message", function ()
		local cases = {
			{ "", nil, "not a PROXY v2 header" };
			{ "x", nil, "not a PROXY v2 header" };
			{ handoff.message():sub(1, 20), nil, "ends too early" };
			{ handoff.message():sub(1, -2), nil, "ends too early" };
			{ handoff.header(handoff.tcp4), nil, "bad UNIQUE_ID" };
			{ handoff.header(handoff.tcp4 .. handoff.id_tlv, { family = 0x12 }), handoff.id, "not TCP over IPv4 or IPv6" };
			{ handoff.message("\1"), handoff.id, "malformed TLV" };
		};
		for _, case in ipairs(cases) do
			local sock, result, id, why = receive(case[1], fd);
			assert.is_nil(sock);
			assert.equal("invalid", result);
			assert.equal(case[2], id);
			assert.equal(case[3], why);
			assert.equal(fds_before, handoff.count_fds());
		end
	end);

	it("takes 1024 bytes and not one more", function ()
		local room = 1024 - #handoff.message() - 3;
		local sock = receive(handoff.message(handoff.tlv(0xe0, ("x"):rep(room))), fd);
		assert.equal("userdata", type(sock));
		sock:close();
		assert.same({ nil, "invalid", handoff.id, "packet too long" },
			{ receive(handoff.message(handoff.tlv(0xe0, ("x"):rep(room + 1))), fd) });
		assert.same({ nil, "invalid", nil, "packet too long" },
			{ receive(("x"):rep(1025), fd) });
	end);

	it("reports a lack of descriptors, and the id", function ()
		local highest = 0;
		local spare = {};
		fdsend.send(sender, handoff.message(), { fd });
		for i = 1, 20 do
			spare[i] = fdsend.dup(0);
			highest = math.max(highest, spare[i]);
		end
		local limit = fdsend.nofile(highest + 1);
		local result = { control:receive() };
		fdsend.nofile(limit);
		fdsend.close(table.unpack(spare));
		assert.same({ nil, "limit", handoff.id }, result);

		-- and goes on afterwards
		local sock = receive(handoff.message(), fd);
		assert.equal("userdata", type(sock));
		sock:close();
	end);

	it("says when the sender has gone, after all that it sent", function ()
		fdsend.send(sender, handoff.message(), { fd });
		control:send("A" .. handoff.id); -- unread when it goes: the next error is ECONNRESET
		fdsend.close(sender);
		local sock = control:receive();
		assert.equal("userdata", type(sock));
		sock:close();
		assert.same({ nil, "closed" }, { control:receive() });
		assert.same({ nil, "closed" }, { control:receive() });
		sender = fdsend.dup(0); -- for after_each
	end);

	it("sends answers", function ()
		assert.is_true(control:send("A" .. handoff.id));
		assert.is_true(control:send("N12345678R12345678"));
		assert.equal("A" .. handoff.id, fdsend.recv(sender));
		assert.equal("N12345678R12345678", fdsend.recv(sender));
	end);

	it("does not block when the sender does not read", function ()
		local ok, err;
		for _ = 1, 10000 do
			ok, err = control:send("A" .. handoff.id);
			if not ok then break; end
		end
		assert.same({ nil, "timeout" }, { ok, err });
		assert.equal("A" .. handoff.id, fdsend.recv(sender));
		assert.is_true(control:send("A" .. handoff.id));
	end);

	it("says when nobody is there to take an answer", function ()
		fdsend.close(sender);
		assert.same({ nil, "closed" }, { control:send("A" .. handoff.id) });
		sender = fdsend.dup(0);
	end);

	it("throws after close", function ()
		control:close();
		fds_before = fds_before - 1;
		assert.equal(-1, control:getfd());
		for _, method in ipairs { "receive", "send", "peercred" } do
			assert.has_error(function () control[method](control, "x"); end);
		end
		assert.truthy(control:close());
	end);
end);
