std = "lua54"
max_line_length = 150

files["prosody-plugin/"] = {
	std = "lua52";
	read_globals = { "prosody" };
	globals = {
		module = {
			other_fields = true;
			fields = {
				load = { read_only = false };
				unload = { read_only = false };
				save = { read_only = false };
				restore = { read_only = false };
			};
		};
	};
}

files["tests/spec/"] = { std = "+busted" }
