-- Logs each HTTP request with the address that modules see.

module:set_global();

module:wrap_object_event(require "net.http.server"._events, false, function (handlers, event_name, event_data)
	local request = event_data.request;
	if request and request.path then
		module:log("info", "request: %s %s from %s", request.method, request.path, request.ip);
	end
	return handlers(event_name, event_data);
end);
