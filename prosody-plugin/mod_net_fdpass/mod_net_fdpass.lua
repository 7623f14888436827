-- mod_net_fdpass
--
-- Takes over TCP connections that another process has accepted, typically
-- xmpp443-shim on port 443. The sockets arrive over a Unix socket, unread, each
-- with the address of its real peer, and are then served like those of Prosody's
-- own direct TLS ports. From another machine they come over TCP, see proxied.lib.lua.
--
-- This file is MIT/X11 licensed.

module:set_global();

local server = require "net.server";
local portmanager = require "core.portmanager";
local certmanager = require "core.certmanager";
local monotonic = require "util.time".monotonic;

local proxied = module:require "proxied";
local status = module:require "status";

local dir_sep = package.config:sub(1, 1);

-- How many packets to take from one sender before others get their turn
local packets_per_wakeup = 64;
-- How many answers fit in one packet
local answers_per_packet = 113;
-- How long to leave a sender alone when there are no file descriptors left
local no_fds_pause = 1;
-- How many connections are remembered to recognise one that is sent again
local remembered_ids = 16384;
-- How often the same complaint may be logged, in seconds
local complaint_interval = 60;

-- The key under which portmanager knows our services. There is no such port, but
-- it is where clients connect, and the automatic choice of a certificate for
-- clients without SNI needs one.
local port_number = 443;

local socket_path = module:get_option_string("fdpass_socket", "/run/prosody/fdpass.sock");
local socket_mode = module:get_option_string("fdpass_socket_mode", "660");
local allowed_users = module:get_option_array("fdpass_users", { "root", "xmpp443" });
local service_options = module:get_option("fdpass_services", {});
local max_pending = module:get_option_number("fdpass_max_pending", 256);

-- Protocols without an ALPN name of their own are for clients of old
local default_protocol = "xmpp-client";

local service_by_protocol = {
	["xmpp-client"] = "c2s_direct_tls";
	["xmpp-server"] = "s2s_direct_tls";
	["http/1.1"] = "https";
};

local fdpass;
local listener, listener_watch;
local senders = {}; -- set of connected senders
local services = {}; -- service name -> { item, queue }
local queued = {}; -- id -> entry in one of the queues
local pending = 0; -- how many
local full = false; -- too many
local recent_ids, older_ids, recent_count = {}, {}, 0;
local complaints = {};
local busy, deferred = false, {};
local stopping = false; -- Prosody is

--- Finds fdpass.so beside this file or where luarocks puts it
local function load_fdpass()
	local dir = module.path and module.path:match("^(.*)[/\\]") or ".";
	local in_tree = ("lib/lua/%s/?.so"):format(_VERSION:match("%d%.%d")):gsub("/", dir_sep);
	local found = package.searchpath("fdpass", table.concat({
		dir..dir_sep.."?.so";
		-- from share/lua/5.x and share/lua/5.x/mod_net_fdpass
		table.concat({ dir, "..", "..", "..", in_tree }, dir_sep);
		table.concat({ dir, "..", "..", "..", "..", in_tree }, dir_sep);
	}, ";"));
	if not found then
		local ok, lib = pcall(require, "fdpass");
		return ok and lib or nil, lib;
	end
	local open, err = package.loadlib(found, "luaopen_fdpass");
	if not open then return nil, err; end
	return open();
end

--- Runs an event handler of ours in one piece
-- Prosody 0.12 runs signal handlers between any two steps of what it is doing, so
-- SIGTERM could take a queue away from under the function that reads it.
local function in_one_piece(handler, ...)
	busy = true;
	local ok, result, err = pcall(handler, ...);
	busy = false;
	while deferred[1] do
		table.remove(deferred, 1)();
	end
	if not ok then error(result, 0); end
	return result, err;
end

--- Runs f now or after the event handler that was interrupted
local function afterwards(f)
	if busy then
		table.insert(deferred, f);
	else
		f();
	end
end

--- Whether a complaint may be logged, or has been only a moment ago
local function may_complain(what)
	local now = monotonic();
	if complaints[what] and now - complaints[what] < complaint_interval then
		return false;
	end
	complaints[what] = now;
	return true;
end

--- What came from the network goes to the log only if it is plain
local function printable(s)
	return s:match("^[%w%./_%-]+$") and s or ("(%d bytes)"):format(#s);
end

local function remember(id)
	if recent_count >= remembered_ids then
		recent_ids, older_ids, recent_count = {}, recent_ids, 0;
	end
	recent_ids[id] = true;
	recent_count = recent_count + 1;
end

local function is_remembered(id)
	return recent_ids[id] or older_ids[id];
end

--- The one place that decides what to wait for
local function update_flags(sender)
	if not sender.watch then return; end
	local answering = sender.answers[1] ~= nil or sender.held ~= nil;
	sender.watch:setflags(not (full or sender.paused or answering), answering);
end

local function update_full()
	local was_full = full;
	if pending >= max_pending then
		full = true;
	elseif pending <= max_pending / 2 then
		full = false;
	end
	if full ~= was_full then
		for sender in pairs(senders) do
			update_flags(sender);
		end
	end
end

--- Queues an answer for flush_answers()
-- @param verdict "A" adopted, "N" never, "R" not now but again later
local function answer(sender, verdict, id)
	-- One that does not take answers any more may still have sent connections
	if verdict == "R" then status.retried(); end
	if sender.watch and not sender.broken then
		table.insert(sender.answers, verdict..id);
	end
end

--- Queues the connections again that waited for their sender to take answers
local function release_held(sender)
	local held = sender.held or {};
	sender.held = nil;
	for _, entry in ipairs(held) do
		if not entry.acceptor:push(entry) then -- its service has gone meanwhile
			queued[entry.id] = nil;
			entry.client:close();
			answer(entry.sender, "R", entry.id);
		end
	end
end

--- Sends a packet of answers
-- @return false if the sender takes none at the moment
local function send_answers(sender, data)
	local ok, err = sender.conn:send(data);
	if not ok and err ~= "timeout" then
		module:log("debug", "Could not answer sender %d: %s", sender.pid, err);
		sender.broken = true;
		sender.answers = {};
	end
	return ok or sender.broken or false;
end

local function flush_answers(sender)
	local answers = sender.answers;
	while sender.watch and answers[1] do
		local n = math.min(#answers, answers_per_packet);
		if not send_answers(sender, table.concat(answers, "", 1, n)) or sender.broken then break; end
		for i = 1, #answers do
			answers[i] = answers[i + n];
		end
	end
	if not sender.answers[1] then
		release_held(sender);
	end
	update_flags(sender);
end

--- Sends the answer that makes a connection ours
-- The sender may send it again until it has the answer, so that has to leave
-- before the first byte is read.
-- @return false if the sender takes no answers at the moment
local function confirm(entry)
	local sender = entry.sender;
	if not sender then return true; end -- from a proxy, which expects none
	if sender.watch and not sender.broken
	and (sender.answers[1] or not send_answers(sender, "A"..entry.id)) then
		return false;
	end
	remember(entry.id);
	return true;
end

--- Keeps a connection until its sender takes answers again
local function hold(entry)
	local sender = entry.sender;
	queued[entry.id] = entry;
	sender.held = sender.held or {};
	table.insert(sender.held, entry);
	update_flags(sender);
end

--- Ends a control connection, after what can still be answered
local function close_sender(sender)
	if not sender.watch then return; end
	flush_answers(sender);
	sender.watch:close();
	sender.watch = nil;
	sender.conn:close();
	sender.answers = {};
	senders[sender] = nil;
	release_held(sender);
end

--- Makes what net.server takes for a listening socket
local function new_queue(service_name, keepalive)
	local queue, queue_err = fdpass.queue();
	if not queue then return nil, queue_err; end

	local function take()
		local entry, err = queue:accept();
		if not entry then return nil, err; end
		if entry.id then queued[entry.id] = nil; end
		pending = pending - 1;
		update_full();
		return entry;
	end

	local acceptor = {};

	function acceptor:getfd() -- luacheck: ignore 212/self
		return queue:getfd();
	end

	function acceptor:push(entry)
		entry.acceptor = self;
		entry.since = entry.since or monotonic();
		local ok, err = queue:push(entry);
		if not ok then return nil, err; end
		if entry.id then queued[entry.id] = entry; end
		pending = pending + 1;
		update_full();
		return ok;
	end

	local function accept()
		if stopping then return nil, "timeout"; end
		for entry in take do
			if confirm(entry) then
				status.adopted(service_name, monotonic() - entry.since);
				-- Later it is a LuaSec object, which has no setoption
				entry.client:setoption("keepalive", keepalive);
				return entry.client;
			end
			hold(entry);
		end
		return nil, "timeout";
	end

	--- Called by net.server, which starts the TLS handshake as soon as this returns
	function acceptor:accept() -- luacheck: ignore 212/self
		return in_one_piece(accept);
	end

	--- Gives everything back to the senders, except what came from a proxy
	function acceptor:drain() -- luacheck: ignore 212/self
		local touched = {};
		for entry in take do
			entry.client:close();
			if entry.sender then
				answer(entry.sender, "R", entry.id);
				touched[entry.sender] = true;
			end
		end
		for sender in pairs(touched) do
			flush_answers(sender);
		end
	end

	function acceptor:length() -- luacheck: ignore 212/self
		return queue:length();
	end

	function acceptor:settimeout() -- luacheck: ignore 212/self
		return 1;
	end

	function acceptor:setoption() -- luacheck: ignore 212/self
		return 1;
	end

	function acceptor:getsockname() -- luacheck: ignore 212/self
		return queue:getsockname();
	end

	function acceptor:close()
		afterwards(function ()
			self:drain();
			queue:close();
		end);
		return 1;
	end

	return acceptor;
end

--- Counts what is not served, and logs it, but not too often
-- @param reason a fixed word, for the statistics
local function refuse(reason, ...)
	status.refused(reason);
	if may_complain(reason) then
		module:log("warn", ...);
	end
end

--- Puts a connection into the queue of its service
-- @return true, or nil if there is no such service
local function enqueue(protocol, meta, entry)
	local service_name = service_by_protocol[protocol];
	local service = service_name and services[service_name];
	if service and service.queue:push(entry) then
		module:log("debug", "Received a connection from [%s]:%d for %s", meta.source_ip, meta.source_port, service_name);
		return true;
	elseif stopping then
		return; -- the services end first, which is nothing to mend
	elseif service_name then
		status.refused("service");
		if not may_complain(service_name) then return; end
		module:log("warn", "Refused a connection for protocol %s: service %s is not active; load the module that provides it or "
			.."remove the protocol from the sender's routes", printable(protocol), service_name);
	else
		refuse("protocol", "Refused a connection for protocol %s: no service for it in fdpass_services", printable(protocol));
	end
end

--- Decides what becomes of one connection that was handed over
local function handle_client(sender, client, meta)
	local id = meta.id;
	if is_remembered(id) then
		status.repeated();
		client:close();
		answer(sender, "A", id);
	elseif queued[id] then
		status.repeated();
		-- It was sent over a connection that has ended since: answer here
		client:close();
		queued[id].sender = sender;
	elseif not enqueue(meta.alpn or default_protocol, meta, { id = id, client = client, sender = sender }) then
		client:close();
		answer(sender, stopping and "R" or "N", id);
	end
end

--- Takes one connection from a proxy
local function handle_proxied(client, meta, port_protocol)
	if not enqueue(meta.alpn or port_protocol or default_protocol, meta, { client = client }) then
		client:close();
	end
end

local function pause_sender(sender)
	sender.paused = true;
	module:add_timer(no_fds_pause, function ()
		sender.paused = nil;
		update_flags(sender);
	end);
end

--- Takes one packet
-- @return true if there may be more
local function receive(sender)
	local client, result, detail, reason = sender.conn:receive();
	if client then
		sender.received = sender.received + 1;
		handle_client(sender, client, result);
		return true;
	elseif result == "gone" then
		status.gone();
		answer(sender, "A", detail);
		return true;
	elseif result == "invalid" and detail then
		answer(sender, "N", detail);
		refuse("message", "Refused a message from sender %d: %s", sender.pid, reason);
		return true;
	elseif result == "invalid" then
		status.refused("message");
		module:log("error", "Closing the connection to sender %d after a message that is not understood: %s; "
			.."are its version and this one's compatible?", sender.pid, reason);
		close_sender(sender);
	elseif result == "limit" then
		if may_complain("limit") then
			module:log("warn", "No file descriptors left for new connections: raise the limit (systemd: LimitNOFILE=)");
		end
		if detail then
			answer(sender, "R", detail);
			pause_sender(sender);
		else
			close_sender(sender);
		end
	elseif result == "closed" then
		module:log("debug", "Sender %d has disconnected", sender.pid);
		close_sender(sender);
	elseif result == "error" then
		module:log("error", "Could not read from sender %d: %s", sender.pid, reason);
		close_sender(sender);
	end
	return false; -- in particular on "timeout"
end

--- An event handler in which an error cannot repeat itself forever
local function protected(sender, handler)
	return function ()
		local ok, err = pcall(in_one_piece, handler, sender);
		if not ok then
			module:log("error", "Closing the connection to sender %d after an error: %s", sender.pid, err);
			close_sender(sender);
		end
	end
end

local function on_readable(sender)
	for _ = 1, packets_per_wakeup do
		if full or stopping or not sender.watch or not receive(sender) then break; end
	end
	flush_answers(sender);
end

local function is_allowed(uid)
	if uid == fdpass.geteuid() then return true; end
	for _, user in ipairs(allowed_users) do
		-- Looked up each time: the user may have been added since we started
		if uid == (tonumber(user) or fdpass.getuid(user)) then return true; end
	end
	return false;
end

local function add_sender(conn)
	local pid, uid = conn:peercred();
	if not pid then
		conn:close();
		return;
	end
	if not is_allowed(uid) then
		status.refused("user");
		if may_complain("uid "..uid) then
			module:log("error", "Refused a sender with uid %d on '%s': if it may hand over connections, add its user name to fdpass_users",
				uid, socket_path);
		end
		conn:close();
		return;
	end
	local sender = { conn = conn, pid = pid, uid = uid, since = os.time(), received = 0, answers = {} };
	sender.watch = server.watchfd(conn, protected(sender, on_readable));
	sender.watch.onwritable = protected(sender, flush_answers);
	senders[sender] = true;
	update_flags(sender);
	module:log("info", "Receiving connections from process %d (uid %d)", pid, uid);
end

local function accept_senders()
	for _ = 1, packets_per_wakeup do
		if not listener then return; end
		local conn, err = listener:accept();
		if conn then
			add_sender(conn);
		elseif err == "timeout" then
			return;
		else
			-- It would be reported again at once
			module:log("warn", "Could not accept a sender: %s", err);
			listener_watch:setflags(false, false);
			module:add_timer(no_fds_pause, function ()
				if listener_watch then listener_watch:setflags(true, false); end
			end);
			return;
		end
	end
end

local function find_keepalive(service_name)
	local prefix = service_name:match("^[^_]+");
	return module:get_option_boolean(prefix.."_tcp_keepalives", module:get_option_boolean("tcp_keepalives", true));
end

--- Loads the certificates for http_host
-- portmanager does so only for the service that is called https, and ours is not.
local function load_http_certificates()
	local service = services.https;
	if not service then return; end
	for host in pairs(prosody.hosts) do
		local host_module = module:context(host);
		local name = host_module:get_option_string("https_host", host_module:get_option_string("http_host"));
		if name and name ~= host then
			local tls_ctx, err, tls_cfg = certmanager.create_context(name, "server", host_module:get_option("https_ssl"),
				certmanager.find_host_cert(name), service.active.tls_cfg);
			if not tls_ctx then
				module:log("error", "Could not make a TLS context for %s, the http_host of %s: %s", name, host, err);
			elseif service.active.server.sslctx then
				service.active.server:sslctx():set_sni_host(name, tls_cfg.certificate, tls_cfg.key);
			else -- 0.12
				service.active.server.hosts[name] = tls_ctx;
			end
		end
	end
end

--- Starts to serve handed-over connections with one of Prosody's services
local function activate(base)
	local protocols = {};
	for protocol, service_name in pairs(service_by_protocol) do
		if service_name == base.name then table.insert(protocols, protocol); end
	end
	if not protocols[1] or services[base.name] then return; end
	if base.encryption ~= "ssl" then
		module:log("error", "Service %s in fdpass_services does not do direct TLS; name one that does, such as c2s_direct_tls", base.name);
		return;
	end
	table.sort(protocols);

	local config_prefix = base.config_prefix or base.name;
	local ssl_config = {};
	for k, v in pairs(base.ssl_config or {}) do ssl_config[k] = v; end
	ssl_config.alpn = protocols;

	local item = {
		name = "fdpass_"..base.name;
		listener = base.listener;
		encryption = "ssl";
		config_prefix = config_prefix;
		ssl_config = ssl_config;
	};
	local interface = "fdpass:"..base.name;

	local prefix_ssl = module:get_option(config_prefix.."_ssl") or module:get_option("ssl") or {};
	local tls_ctx, err, tls_cfg = certmanager.create_context(("%s port %d"):format(item.name, port_number), "server",
		prefix_ssl[interface], prefix_ssl[port_number], prefix_ssl, ssl_config);
	if not tls_ctx then
		module:log("error", "Could not make a TLS context for service %s: %s", base.name, err);
		return;
	end

	local queue, queue_err = new_queue(base.name, find_keepalive(base.name));
	if not queue then
		module:log("error", "Could not make a queue for service %s: %s", base.name, queue_err);
		return;
	end
	local handler = server.wrapserver(queue, interface, port_number, base.listener, {
		read_size = base.listener.default_mode or module:get_option_number("network_default_read_size", 4096);
		tls_ctx = tls_ctx;
		tls_direct = true;
		sni_hosts = {};
	});
	-- net.server stores a renewed context where it is never looked for
	function handler:set_sslctx(new_ctx)
		self.tls_ctx = new_ctx;
	end
	-- It would rest for 10 s after an accept() that returned nothing, but the
	-- queue is not readable without reason
	function handler:pausefor() -- luacheck: ignore 212/self
	end

	-- portmanager does not try to open ports for a service that has one already
	local active = {
		server = handler;
		service = item;
		tls_cfg = tls_cfg;
		config_prefix = config_prefix;
	};
	portmanager.get_active_services():add(item.name, interface, port_number, active);
	services[base.name] = { item = item, queue = queue, active = active };
	module:provides("net", item);
	if base.name == "https" then load_http_certificates(); end
	module:log("debug", "Connections for %s go to service %s", table.concat(protocols, ", "), base.name);
end

local function deactivate(base)
	local service = services[base.name];
	if not service then return; end
	services[base.name] = nil;
	module:remove_item("net-provider", service.item); -- closes the queue
end

--- Events of portmanager, which has no protection against errors in handlers
local function on_service_event(handler)
	return function (event)
		-- Ours have names of their own, so they are not in the map
		local ok, err = pcall(handler, event.service);
		if not ok then
			module:log("error", "Could not follow a change of service %s: %s", event.name, err);
		end
	end
end

local function explain(errno)
	local dir = socket_path:match("^(.*)/") or ".";
	if errno == fdpass.ENOENT then
		return ("create the directory %s, writable for Prosody's user (systemd: RuntimeDirectory=), or set fdpass_socket"):format(dir);
	elseif errno == fdpass.EACCES then
		return ("make the directory %s writable for Prosody's user, or set fdpass_socket"):format(dir);
	elseif errno == fdpass.EADDRINUSE then
		return "another process is listening there; stop it, or set fdpass_socket to another path";
	elseif errno == fdpass.EEXIST then
		return "there is a file that is not a socket; remove it, or set fdpass_socket to another path";
	elseif errno == fdpass.ENAMETOOLONG then
		return "set fdpass_socket to a path of at most 107 bytes";
	end
	return "see fdpass_socket";
end

local function start_listening()
	if module:get_option("fdpass_socket") == false then return; end
	local mode = socket_mode:match("^[0-7]+$") and tonumber(socket_mode, 8);
	if not mode or mode > 511 then -- 0777
		module:log("error", "fdpass_socket_mode must be octal permission bits such as \"660\", not \"%s\"; using 660", socket_mode);
		mode = 432; -- 0660
	end
	local err, errno;
	listener, err, errno = fdpass.listen(socket_path, mode);
	if not listener then
		module:log("error", "Could not listen on '%s': %s; %s", socket_path, err, explain(errno));
		return;
	end
	listener_watch = server.watchfd(listener, function () in_one_piece(accept_senders); end);
	module:log("info", "Waiting for connections to be handed over on '%s'", socket_path);
end

local function stop()
	proxied.stop();
	for sender in pairs(senders) do
		release_held(sender);
	end
	for _, service in pairs(services) do
		service.queue:drain();
	end
	if not listener then return; end
	for sender in pairs(senders) do
		close_sender(sender);
	end
	listener_watch:close();
	listener:close();
	listener, listener_watch = nil, nil;
end

local function describe(sender)
	if sender.held or sender.answers[1] then
		return "takes no answers";
	elseif sender.paused then
		return "paused, no file descriptors left";
	elseif full then
		return "paused, too many waiting";
	end
	return "ready";
end

--- What there is at the moment, for status.lib.lua
local function get_state()
	local state = { senders = {}, services = {}, pending = pending };
	for sender in pairs(senders) do
		table.insert(state.senders, {
			pid = sender.pid, uid = sender.uid, since = sender.since, received = sender.received;
			state = describe(sender);
		});
	end
	table.sort(state.senders, function (a, b) return a.pid < b.pid; end);
	for protocol, name in pairs(service_by_protocol) do
		local service = services[name];
		local row = state.services[name] or {
			protocols = {};
			state = service and "active" or "not active";
			waiting = service and service.queue:length() or 0;
		};
		state.services[name] = row;
		table.insert(row.protocols, protocol);
		table.sort(row.protocols);
	end
	return state;
end

local function read_service_options()
	if type(service_options) ~= "table" then
		module:log("error", "fdpass_services must be a table such as { [\"http/1.1\"] = false }; ignored");
		return;
	end
	for protocol, service_name in pairs(service_options) do
		if type(protocol) ~= "string" or not (type(service_name) == "string" or service_name == false) then
			module:log("error", "fdpass_services must map protocol names to service names or false; entry %s ignored", tostring(protocol));
		else
			service_by_protocol[protocol] = service_name or nil;
		end
	end
end

function module.load()
	if prosody.process_type ~= "prosody" then return; end
	if server.get_backend() ~= "epoll" then
		module:log("error", "mod_net_fdpass needs network_backend = \"epoll\", not \"%s\"; no connections will be handed over",
			server.get_backend());
		return;
	end
	local err;
	fdpass, err = load_fdpass();
	if not fdpass then
		module:log("error", "Could not load the C module 'fdpass': %s; put fdpass.so beside mod_net_fdpass.lua", err);
		return;
	end
	if not max_pending or max_pending < 1 then
		module:log("error", "fdpass_max_pending must be a positive number; using 256");
		max_pending = 256;
	end

	read_service_options();
	for _, service_name in pairs(service_by_protocol) do
		local base = portmanager.get_service(service_name);
		if base then activate(base); end
	end
	module:hook("service-added", on_service_event(activate));
	module:hook("service-removed", on_service_event(deactivate));
	module:hook("host-activated", load_http_certificates);
	module:hook("config-reloaded", load_http_certificates, -2); -- after portmanager

	start_listening();
	proxied.start(fdpass, handle_proxied, refuse);
	status.start(get_state);
	module:hook("config-reloaded", function ()
		if not listener then start_listening(); end
	end);
	-- Not unloaded at shutdown. Before mod_c2s and mod_s2s close their
	-- connections, so that no new ones arrive meanwhile.
	module:hook("server-stopping", function ()
		stopping = true;
		afterwards(stop);
	end, 10);
end

function module.unload()
	if fdpass then stop(); end
	status.stop();
end

-- A connection may be sent again after a reload, if its answer got lost in it
function module.save()
	return { recent = recent_ids, older = older_ids, count = recent_count, status = status.save() };
end

function module.restore(state)
	if not state.recent then return; end -- from a version that saved something else
	recent_ids, older_ids, recent_count = state.recent, state.older, state.count;
	if state.status then status.restore(state.status); end
end
