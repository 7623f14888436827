-- For tests: tells a web client what Prosody takes its address for.

module:depends "http";

module:provides("http", {
	default_path = "/ip";
	route = {
		GET = function (event)
			return event.request.ip;
		end;
	};
});
