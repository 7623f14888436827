#include "explain.h"
#include "keep.h"
#include "keeper.h"
#include "log.h"
#include "notify.h"
#include "options.h"
#include "serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct options o = {.conf = conf_new()};
	struct conf_error err;
	char message[512];
	char *names = NULL;
	int passed, listeners, ret;

	if (o.conf == NULL) {
		fputs("xmpp443-shim: out of memory\n", stderr);
		return EXIT_SYSTEM;
	}
	ret = options_parse(argc, argv, &o);
	if (ret >= 0)
		goto out;

	passed = notify_listen_fds(&names);
	listeners = keep_count_passed(passed, names);
	if (o.file != NULL) {
		struct conf *from_file = NULL;

		if (options_load(o.file, -1, listeners > 0 || o.check || o.explain != NULL, &from_file, message, sizeof(message)) != 0) {
			fprintf(stderr, "xmpp443-shim: %s\n", message);
			ret = EXIT_USAGE;
			goto out;
		}
		conf_unref(o.conf);
		o.conf = from_file;
	} else if (o.explain == NULL && conf_check(o.conf, listeners > 0, &err) < 0) {
		fprintf(stderr, "xmpp443-shim: %s\n", err.text);
		ret = EXIT_USAGE;
		goto out;
	}

	if (o.explain != NULL) {
		int failed = explain(o.conf, o.explain);

		if (failed < 0)
			fprintf(stderr, "xmpp443-shim: %s: %s\n", o.explain, strerror(-failed));
		ret = failed < 0 ? EXIT_USAGE : EXIT_SUCCESS;
	} else if (o.check) {
		puts("the settings are valid");
		if (o.conf->n_listen == 0)
			puts("note: there is no listen; the service manager has to pass the sockets");
		ret = EXIT_SUCCESS;
	} else if (o.conf->keep != CONF_KEEP_OFF && getenv("NOTIFY_SOCKET") == NULL) {
		log_init(o.conf->log_level);
		ret = keeper_run(argv, NOTIFY_FDS_START, passed, names);
	} else {
		ret = serve(&o, passed, names);
	}
out:
	free(names);
	conf_unref(o.conf);
	return ret;
}
