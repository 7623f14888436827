local fdpass = require "fdpass";
local fdsend = require "fdsend";
local handoff = require "handoff";

describe("fdpass.listen", function ()
	local dir, path;

	before_each(function ()
		dir = handoff.temp_dir();
		path = dir .. "/fdpass.sock";
	end);

	after_each(function ()
		handoff.remove_dir(dir);
	end);

	local function refused_with(errno, p)
		local before = handoff.count_fds();
		local listener, message, code = fdpass.listen(p or path);
		assert.is_nil(listener);
		assert.is_string(message);
		assert.equal(errno, code);
		assert.equal(before, handoff.count_fds());
	end

	it("makes a socket with exactly the mode asked for, whatever the umask", function ()
		for _, mode in ipairs { 432, 438, 384 } do -- 0660 0666 0600
			for _, mask in ipairs { 0, 23, 63 } do -- 0 027 077
				local before = fdsend.umask(mask);
				local listener = fdpass.listen(path, mode);
				fdsend.umask(before);
				assert.equal(mode, (fdsend.stat(path)));
				listener:close();
			end
		end
	end);

	it("uses mode 0660 by default", function ()
		local listener = fdpass.listen(path);
		assert.equal(432, (fdsend.stat(path)));
		listener:close();
	end);

	it("gives a descriptor that is closed on exec and does not block", function ()
		local listener = fdpass.listen(path);
		assert.same({ true, true }, { fdsend.flags(listener:getfd()) });
		assert.same({ nil, "timeout" }, { listener:accept() });
		listener:close();
		assert.equal(-1, listener:getfd());
	end);

	it("removes its socket on close, and only once", function ()
		local listener = fdpass.listen(path);
		assert.truthy(fdsend.stat(path));
		assert.truthy(listener:close());
		assert.is_nil(fdsend.stat(path));
		local second = fdpass.listen(path);
		assert.truthy(listener:close());
		assert.truthy(fdsend.stat(path));
		second:close();
	end);

	it("leaves a file that has taken its place", function ()
		local listener = fdpass.listen(path);
		os.remove(path);
		io.open(path, "w"):close();
		listener:close();
		assert.truthy(fdsend.stat(path));
	end);

	it("replaces a dead socket", function ()
		for _, kind in ipairs { "seqpacket", "stream" } do
			fdsend.close(fdsend.unix(kind, path, true));
			local listener = assert(fdpass.listen(path));
			fdsend.close(fdsend.unix("seqpacket", path));
			listener:close();
		end
	end);

	it("refuses a live socket and leaves it alone", function ()
		for _, kind in ipairs { "seqpacket", "stream" } do
			local live = fdsend.unix(kind, path, true);
			refused_with(fdpass.EADDRINUSE);
			fdsend.close(fdsend.unix(kind, path), live);
			os.remove(path);
		end
	end);

	it("refuses a path that is no socket and leaves it alone", function ()
		local file = io.open(path, "w");
		file:write("precious"):close();
		refused_with(fdpass.EEXIST);
		assert.equal("precious", io.open(path):read("a"));
		os.remove(path);

		assert(os.execute(("ln -s /nowhere '%s'"):format(path)));
		refused_with(fdpass.EEXIST);
	end);

	it("refuses a directory that does not exist", function ()
		refused_with(fdpass.ENOENT, dir .. "/missing/fdpass.sock");
	end);

	it("refuses a path that is too long", function ()
		refused_with(fdpass.ENAMETOOLONG, "/" .. ("x"):rep(107));
	end);

	it("throws on wrong arguments", function ()
		assert.has_error(function () fdpass.listen(); end);
		assert.has_error(function () fdpass.listen(path .. "\0"); end);
		assert.has_error(function () fdpass.listen(path, 4095); end);
	end);

	it("tells who connected", function ()
		local listener = fdpass.listen(path);
		local fd = fdsend.unix("seqpacket", path);
		local control = listener:accept();
		local pid, uid = control:peercred();
		assert.equal(fdsend.getpid(), pid);
		assert.equal(fdpass.geteuid(), uid);
		assert.same({ true, true }, { fdsend.flags(control:getfd()) });
		fdsend.close(fd);
		control:close();
		listener:close();
	end);
end);

describe("fdpass.getuid", function ()
	it("finds a user", function ()
		assert.equal(0, fdpass.getuid("root"));
	end);

	it("gives nil for an unknown one", function ()
		assert.is_nil(fdpass.getuid("no such user"));
	end);
end);
