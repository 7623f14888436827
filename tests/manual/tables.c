/* Prints the tables of the settings and of the flags, for tests/manual/compare: one a line, with tabs between the fields. */

#include "conf.h"
#include "options.h"

#include <stdio.h>

static const char *or_dash(const char *text)
{
	return text != NULL ? text : "-";
}

int main(void)
{
	static const struct {
		enum conf_in in;
		const char *section;
	} sections[] = {{CONF_IN_SHIM, "[shim]"}, {CONF_IN_ROUTE, "[route NAME]"}, {CONF_IN_WEB, "[web]"}};

	for (size_t s = 0; s < sizeof(sections) / sizeof(sections[0]); s++)
		for (size_t i = 0; i < conf_keys_n; i++) {
			const struct conf_key *k = &conf_keys[i];

			if (k->in & sections[s].in)
				printf("key\t%s\t%s\t%s\t%s\n", sections[s].section, k->name, k->value, or_dash(k->fallback));
		}
	for (size_t i = 0; i < option_flags_n; i++) {
		const struct flag *f = &option_flags[i];

		printf("flag\t%s\t%s\t%c\t%s\n", f->name, or_dash(f->value), f->letter != 0 ? f->letter : '-', f->help);
	}
	return 0;
}
