/* Prints the tables of the settings, the flags and the reasons for the end of a connection, for tests/manual/compare: one a line, with tabs between the fields. */

#include "conf.h"
#include "env.h"
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
				printf("key\t%s\t%s\t%s\t%s\t%u\t%u\n", sections[s].section, k->name, k->value, or_dash(k->fallback),
				       k->min, k->max);
		}
	for (size_t i = 0; i < option_flags_n; i++) {
		const struct flag *f = &option_flags[i];

		printf("flag\t%s\t%s\t%c\t%s\n", f->name, or_dash(f->value), f->letter != 0 ? f->letter : '-', f->help);
	}
	for (int end = 0; end < ENDS_N; end++)
		if (end != END_HANDED_OFF) /* which is an event of its own */
			printf("reason\t%s\n", env_end_name((enum env_end)end));
	return 0;
}
