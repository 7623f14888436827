-- What becomes of the connections: counted, for Prosody's statistics, and shown
-- by the shell command fdpass:status().
--
-- Part of mod_net_fdpass. This file is MIT/X11 licensed.

local format_table = require "util.human.io".table;
local sorted_pairs = require "util.iterators".sorted_pairs;

-- Came with 13.0, as did what is asked for here
local has_shell_items = require "core.features".available:contains("permissions");

-- Since the module was first loaded; statistics may be switched off
local counts = { adopted = {}, refused = {}, retried = 0, repeated = 0, gone = 0 };

local m_adopted = module:metric("counter", "adopted", "", "Connections taken over", { "service" });
local m_refused = module:metric("counter", "refused", "", "Connections and senders not wanted", { "reason" });
local m_retried = module:metric("counter", "retried", "", "Connections given back to the sender, to be sent again later");
local m_repeated = module:metric("counter", "repeated", "", "Connections sent again that had been adopted or were waiting already");
local m_gone = module:metric("counter", "gone", "", "Connections whose client had gone before they could be adopted");
local m_pending = module:metric("gauge", "pending", "", "Connections that wait for their turn");
local m_senders = module:metric("gauge", "senders", "", "Control connections");
local m_queue_time = module:metric("histogram", "queue_time", "seconds", "From the arrival of a connection to its TLS handshake", nil, {
	buckets = { 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10 };
});

local get_state; -- given by the module

local function adopted(service_name, waited)
	counts.adopted[service_name] = (counts.adopted[service_name] or 0) + 1;
	m_adopted:with_labels(service_name):add(1);
	m_queue_time:with_labels():sample(waited);
end

--- @param reason one of a few fixed words, not anything that came from the network
local function refused(reason)
	counts.refused[reason] = (counts.refused[reason] or 0) + 1;
	m_refused:with_labels(reason):add(1);
end

local function retried()
	counts.retried = counts.retried + 1;
	m_retried:with_labels():add(1);
end

local function repeated()
	counts.repeated = counts.repeated + 1;
	m_repeated:with_labels():add(1);
end

local function gone()
	counts.gone = counts.gone + 1;
	m_gone:with_labels():add(1);
end

local function update_statistics()
	local state = get_state();
	m_pending:with_labels():set(state.pending);
	m_senders:with_labels():set(#state.senders);
end

local function print_table(session, columns, rows)
	local row = format_table(columns, session.width or 120);
	session.print(row());
	for _, values in ipairs(rows) do
		session.print(row(values));
	end
	session.print("");
end

local function print_senders(session, senders)
	local rows = {};
	for _, sender in ipairs(senders) do
		table.insert(rows, { sender.pid, sender.uid, os.date("%Y-%m-%d %H:%M:%S", sender.since), sender.received, sender.state });
	end
	session.print("Control connections");
	print_table(session, {
		{ title = "Process", width = 10 };
		{ title = "User id", width = 10 };
		{ title = "Since", width = 19 };
		{ title = "Received", width = 10, align = "right" };
		{ title = "State", width = "100%" };
	}, rows);
end

local function print_services(session, services)
	local rows = {};
	for name, service in sorted_pairs(services) do
		table.insert(rows, { name, service.state, counts.adopted[name] or 0, service.waiting, table.concat(service.protocols, ", ") });
	end
	session.print("Services");
	print_table(session, {
		{ title = "Service", width = 20 };
		{ title = "State", width = 12 };
		{ title = "Adopted", width = 10, align = "right" };
		{ title = "Waiting", width = 10, align = "right" };
		{ title = "Protocols", width = "100%" };
	}, rows);
end

local function print_counts(session)
	session.print("Sent again later: "..counts.retried);
	session.print("Sent twice: "..counts.repeated);
	session.print("Client gone before: "..counts.gone);
	for reason, count in sorted_pairs(counts.refused) do
		session.print(("Refused (%s): %d"):format(reason, count));
	end
	session.print("");
end

local command = {
	section = "fdpass";
	section_desc = "Connections that other processes hand over";
	name = "status";
	desc = "Show who hands connections over, to which services, and how many";
	args = {};
	handler = function (self)
		local state = get_state();
		print_senders(self.session, state.senders);
		print_services(self.session, state.services);
		print_counts(self.session);
		return true, ("%d control connections, %d connections waiting"):format(#state.senders, state.pending);
	end;
};

--- @param state_getter returns what there is at the moment: senders, services, pending
local function start(state_getter)
	get_state = state_getter;
	module:hook("stats-update", update_statistics);
	if has_shell_items then
		module:add_item("shell-command", command);
	else -- COMPAT w/0.12
		module:shared("/*/admin_shell/env").fdpass = { status = command.handler };
	end
end

local function stop()
	if get_state and not has_shell_items then
		module:shared("/*/admin_shell/env").fdpass = nil;
	end
end

local function save()
	return counts;
end

local function restore(saved)
	counts = saved;
end

return {
	adopted = adopted, refused = refused, retried = retried, repeated = repeated, gone = gone;
	start = start, stop = stop, save = save, restore = restore;
};
