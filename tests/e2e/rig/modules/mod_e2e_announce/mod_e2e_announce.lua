-- Tells the tests what Prosody believes about each session.

module:set_global();

function module.add_host(module)
	module:hook("resource-bind", function (event)
		local session = event.session;
		module:log("info", "e2e: jid=%s ip=%s port=%d", session.full_jid, session.ip, session.conn:clientport());
	end);
	module:hook("presence/initial", function (event)
		module:log("info", "e2e: available=%s", event.origin.full_jid);
	end);
end

module:hook("server-started", function ()
	module:log("info", "e2e: server-started");
end);
