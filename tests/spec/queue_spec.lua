local fdpass = require "fdpass";
local fdsend = require "fdsend";
local handoff = require "handoff";

describe("fdpass.queue", function ()
	local queue;

	before_each(function ()
		queue = fdpass.queue();
	end);

	after_each(function ()
		queue:close();
	end);

	it("is readable exactly while something is queued", function ()
		assert.is_false(fdsend.readable(queue:getfd()));
		assert.equal(1, queue:push("a"));
		assert.is_true(fdsend.readable(queue:getfd()));
		assert.equal(2, queue:push("b"));
		assert.equal("a", queue:accept());
		assert.is_true(fdsend.readable(queue:getfd()));
		assert.equal("b", queue:accept());
		assert.is_false(fdsend.readable(queue:getfd()));
		assert.equal(0, queue:length());
	end);

	it("accepts nothing when empty", function ()
		assert.same({ nil, "timeout" }, { queue:accept() });
		assert.same({ nil, "timeout" }, { queue:accept() });
	end);

	it("keeps the order", function ()
		local out = {};
		for i = 1, 100 do
			queue:push(i);
			if i % 3 == 0 then table.insert(out, queue:accept()); end
		end
		while queue:length() > 0 do table.insert(out, queue:accept()); end
		for i = 1, 100 do assert.equal(i, out[i]); end
	end);

	it("does not keep what it gave away", function ()
		local seen = setmetatable({}, { __mode = "k" });
		do
			local value = {};
			seen[value] = true;
			queue:push(value);
			queue:push({});
		end
		queue:accept();
		collectgarbage();
		collectgarbage();
		assert.is_nil(next(seen));
	end);

	it("has a descriptor that is closed on exec and does not block", function ()
		assert.same({ true, true }, { fdsend.flags(queue:getfd()) });
	end);

	it("refuses everything once closed", function ()
		local before = handoff.count_fds();
		queue:push("a");
		queue:close();
		assert.equal(before - 1, handoff.count_fds());
		assert.equal(-1, queue:getfd());
		assert.same({ nil, "closed" }, { queue:push("b") });
		assert.same({ nil, "closed" }, { queue:accept() });
		assert.equal(0, queue:length());
	end);

	it("closes its descriptor when it is garbage", function ()
		local before = handoff.count_fds();
		for _ = 1, 10 do fdpass.queue(); end
		assert.equal(before, handoff.count_fds());
	end);

	it("refuses nil", function ()
		assert.has_error(function () queue:push(nil); end);
		assert.has_error(function () queue:push(); end);
	end);

	it("looks like a listening socket", function ()
		assert.equal(1, queue:settimeout(0));
		assert.is_nil((queue:getsockname()));
	end);
end);
