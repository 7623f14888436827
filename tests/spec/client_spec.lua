local socket = require "socket";
local ssl = require "ssl";
local fdpass = require "fdpass";
local fdsend = require "fdsend";
local handoff = require "handoff";

local function adopt(message, fd)
	local dir = handoff.temp_dir();
	local listener = fdpass.listen(dir .. "/s");
	local sender = fdsend.unix("seqpacket", dir .. "/s");
	local control = listener:accept();
	fdsend.send(sender, message, { fd });
	local sock = assert(control:receive());
	fdsend.close(sender);
	control:close();
	listener:close();
	handoff.remove_dir(dir);
	return sock;
end

describe("adopted socket", function ()
	local client, accepted, sock;

	before_each(function ()
		client, accepted = handoff.tcp_pair();
		sock = adopt(handoff.message(), accepted:getfd());
		accepted:close();
	end);

	after_each(function ()
		sock:close();
		client:close();
	end);

	it("gives the addresses in the message", function ()
		assert.same({ "192.0.2.7", 40001, "inet" }, { sock:getpeername() });
		assert.same({ "198.51.100.1", 443, "inet" }, { sock:getsockname() });
		local _, other = handoff.tcp_pair();
		local six = adopt(handoff.header(handoff.tcp6 .. handoff.id_tlv, { family = 0x21 }), other:getfd());
		assert.same({ "2001:db8::7", 40001, "inet6" }, { six:getpeername() });
		assert.same({ "2001:db8::1", 443, "inet6" }, { six:getsockname() });
		six:close();
	end);

	it("has no addresses once closed", function ()
		sock:close();
		assert.equal(-1, sock:getfd());
		assert.same({ nil, "closed" }, { sock:getpeername() });
		assert.same({ nil, "closed" }, { sock:getsockname() });
	end);

	it("sets options", function ()
		assert.is_false(fdsend.keepalive(sock:getfd()));
		assert.equal(1, sock:setoption("keepalive", true));
		assert.is_true(fdsend.keepalive(sock:getfd()));
		for _, name in ipairs { "tcp-keepidle", "tcp-keepintvl", "tcp-keepcnt" } do
			assert.equal(1, sock:setoption(name, 60));
		end
		assert.equal(1, sock:setoption("tcp-nodelay", true));
		assert.has_error(function () sock:setoption("no-such-option", true); end);
		assert.has_error(function () sock:setoption("keepalive"); end);
		assert.same({ nil, "setsockopt failed" }, { sock:setoption("tcp-keepidle", -1) });
	end);

	it("does not close a descriptor that was taken over", function ()
		local fd = sock:getfd();
		sock:setfd(-1);
		assert.equal(-1, sock:getfd());
		sock:close();
		assert.truthy(fdsend.stat("/proc/self/fd/" .. fd));
		sock:setfd(fd);
	end);

	it("has nothing to be read and nothing to wait for", function ()
		assert.is_false(sock:dirty());
		assert.equal(1, sock:settimeout(0));
	end);

	it("shows what it is", function ()
		assert.match("^fdpass{client}: ", tostring(sock));
	end);

	it("becomes a LuaSocket object", function ()
		client:settimeout(2);
		for address, family in pairs { ["127.0.0.1"] = "inet", ["::1"] = "inet6" } do
			local c, a = handoff.tcp_pair(address);
			local before = handoff.count_fds();
			local adopted = adopt(handoff.message(), a:getfd());
			local s = assert(fdpass.tosocket(adopted));
			assert.equal(before + 1, handoff.count_fds());
			assert.equal(-1, adopted:getfd());
			assert.match("^tcp{client}", tostring(s));
			a:close();

			s:settimeout(2);
			local _, port = c:getsockname();
			assert.same({ address, tonumber(port), family }, { s:getpeername() });
			c:send("hello\n");
			assert.equal("hello", s:receive());
			assert.equal(6, s:send("world\n"));
			assert.equal("world", c:receive());
			assert.equal(s, select(2, socket.select(nil, { s }, 1))[1]);
			c:close();
			assert.equal("closed", select(2, s:receive()));
			s:close();
		end
	end);

	it("cannot become one twice", function ()
		local s = fdpass.tosocket(sock);
		assert.has_error(function () fdpass.tosocket(sock); end);
		s:close();
	end);

	it("is wrapped by LuaSec, which takes the descriptor over", function ()
		local dir = handoff.temp_dir();
		assert(os.execute(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=a.example "
			.. "-keyout %s/key -out %s/crt 2>/dev/null"):format(dir, dir)));
		local server = assert(ssl.wrap(sock, {
			mode = "server", protocol = "any", key = dir .. "/key", certificate = dir .. "/crt", alpn = { "xmpp-client" };
		}));
		assert.equal(-1, sock:getfd());
		server:settimeout(0);
		client:settimeout(0);
		local peer = assert(ssl.wrap(client, { mode = "client", protocol = "any", verify = "none", alpn = { "xmpp-client" } }));
		peer:settimeout(0);
		local done_s, done_c;
		for _ = 1, 1000 do
			done_c = done_c or peer:dohandshake();
			done_s = done_s or server:dohandshake();
			if done_s and done_c then break; end
		end
		assert.is_true(done_s and done_c);
		assert.equal("xmpp-client", peer:getalpn());
		peer:send("hi\n");
		server:settimeout(2);
		assert.equal("hi", server:receive());
		server:close();
		peer:close();
		handoff.remove_dir(dir);
	end);
end);
