#include "script.h"

#include "net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELLO_MAX 16384

static const struct script scripts[] = {
	{.name = "connect", .request = 1, .closer = SCRIPT_SERVER},
	{.name = "visit", .request = 1, .closer = SCRIPT_CLIENT},
	{.name = "pingpong", .request = 200, .response = 1024},
	{.name = "resp64k", .request = 200, .response = 65536},
	{.name = "bulk", .request = 200, .response = 16777216},
	{.name = "upload", .request = 16777216, .response = 200},
};

struct script script_find(const char *name, size_t bytes)
{
	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
		struct script s = scripts[i];

		if (strcmp(s.name, name) != 0)
			continue;
		if (bytes > 0 && s.request > s.response)
			s.request = bytes;
		else if (bytes > 0)
			s.response = bytes;
		return s;
	}
	die(0, "no such mode:", name);
}

struct hello hello_load(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct hello h = {.data = malloc(HELLO_MAX)};

	if (f == NULL || h.data == NULL)
		die(errno, "cannot read", path);
	h.len = fread(h.data, 1, HELLO_MAX, f);
	if (ferror(f) || h.len == 0)
		die(errno, "cannot read", path);
	fclose(f);
	return h;
}
