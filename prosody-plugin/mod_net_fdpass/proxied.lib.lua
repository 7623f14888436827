-- TCP ports for proxies, such as a shim on another machine: a PROXY header, then
-- the client's direct TLS.
--
-- Part of mod_net_fdpass. This file is MIT/X11 licensed.

local server = require "net.server";
local ip = require "util.ip";

-- How long a proxy may take to send the whole header, in seconds
local header_timeout = module:get_option_number("fdpass_header_timeout", 10);
local trusted_proxies = module:get_option_array("fdpass_trusted_proxies", {});
local protocol_options = module:get_option("fdpass_tcp_protocols", {});

local networks = {}; -- array of { address, bits }
local protocol_by_port = {};
local waiting = {}; -- set of connections whose header has not come yet
local item; -- the service, as portmanager knows it

-- Given by the module
local fdpass, deliver, refuse;

local function read_options()
	for _, proxy in ipairs(trusted_proxies) do
		local address, bits = ip.parse_cidr(tostring(proxy));
		if address and (bits or not tostring(proxy):find("/", 1, true)) then
			table.insert(networks, { address, bits });
		else
			module:log("error", "fdpass_trusted_proxies: '%s' is not an address such as \"192.0.2.1\" or \"2001:db8::/64\"; ignored",
				tostring(proxy));
		end
	end
	if not networks[1] then
		module:log("error", "Nobody may connect to fdpass_tcp_ports: put the addresses of your proxies into fdpass_trusted_proxies");
	end
	if not header_timeout or header_timeout <= 0 then
		module:log("error", "fdpass_header_timeout must be a positive number of seconds; using 10");
		header_timeout = 10;
	end
	if type(protocol_options) ~= "table" then
		module:log("error", "fdpass_tcp_protocols must be a table such as { [5270] = \"xmpp-server\" }; ignored");
		return;
	end
	for port, protocol in pairs(protocol_options) do
		if tonumber(port) and type(protocol) == "string" then
			protocol_by_port[tonumber(port)] = protocol;
		else
			module:log("error", "fdpass_tcp_protocols must map port numbers to protocol names; entry %s ignored", tostring(port));
		end
	end
end

local function is_trusted(peer)
	local address = ip.new_ip(peer);
	for _, network in ipairs(networks) do
		if address and ip.match(address, network[1], network[2]) then return true; end
	end
	return false;
end

local function forget(proxied)
	waiting[proxied] = nil;
	if not proxied.watch then return; end
	proxied.watch:close();
	proxied.timer:stop();
	proxied.watch = nil;
end

local function drop(proxied)
	forget(proxied);
	proxied.socket:close();
end

--- Goes on with what has come of a header
local function receive(proxied)
	local client, result, reason = proxied.socket:receive();
	if client then
		forget(proxied);
		deliver(client, result, protocol_by_port[proxied.port]);
	elseif result == "timeout" then
		return;
	elseif result == "invalid" then
		drop(proxied);
		refuse("header", "Refused a connection from proxy [%s] to port %d: %s; let it send the PROXY protocol, version 1 or 2, "
			.."and then what the client sends (HAProxy: send-proxy-v2, nginx: proxy_protocol on)", proxied.peer, proxied.port, reason);
	else
		drop(proxied);
		-- This is what many health checks look like
		module:log("debug", "Proxy [%s] has closed a connection before its PROXY header was complete", proxied.peer);
	end
end

local function on_readable(proxied)
	return function ()
		local ok, err = pcall(receive, proxied);
		if not ok then
			module:log("error", "Closing a connection from proxy [%s] after an error: %s", proxied.peer, err);
			drop(proxied);
		end
	end
end

local function on_timeout(_, proxied)
	if not waiting[proxied] then return; end
	drop(proxied);
	refuse("header-timeout", "Closed a connection from proxy [%s] to port %d after %g seconds without a complete PROXY header; "
		.."let it send one (HAProxy: send-proxy-v2, nginx: proxy_protocol on)", proxied.peer, proxied.port, header_timeout);
end

local listener = {};

--- Takes the socket away from net.server, which would read from it
function listener.onconnect(conn)
	local peer, port = conn:ip(), tonumber(conn:serverport()); -- a string, from LuaSocket
	if not is_trusted(peer) then
		conn:close();
		refuse("proxy", "Refused a connection from [%s] to port %d: if it is your proxy, add its address to fdpass_trusted_proxies",
			peer, port);
		return;
	end
	local socket = conn:socket();
	conn:del();
	local proxied = { socket = fdpass.proxied(socket:getfd()), peer = peer, port = port };
	socket:setfd(-1);
	conn:destroy();

	waiting[proxied] = true;
	on_readable(proxied)();
	if waiting[proxied] then
		-- By its number, which it still has when the object has given it away
		proxied.watch = server.watchfd(proxied.socket:getfd(), on_readable(proxied));
		proxied.timer = module:add_timer(header_timeout, on_timeout, proxied);
	end
end

function listener.onincoming() end

function listener.ondisconnect() end

--- Opens the ports, if any are configured
-- @param library the C module
-- @param on_client called with a client, its metadata and the port's protocol or nil
-- @param on_refusal called with a reason and a message for the log
local function start(library, on_client, on_refusal)
	fdpass, deliver, refuse = library, on_client, on_refusal;
	local ports = module:get_option_array("fdpass_tcp_ports", {});
	if not ports[1] then return; end
	read_options();
	item = { name = "fdpass_tcp", listener = listener, default_ports = {} };
	module:provides("net", item);
end

local function stop()
	if not item then return; end
	module:remove_item("net-provider", item);
	item = nil;
	for proxied in pairs(waiting) do
		drop(proxied);
	end
end

return { start = start, stop = stop };
