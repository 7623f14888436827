#include "local.h"

#include "mem.h"
#include "run.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct conf *local_settings(struct report *r, const struct options *o)
{
	struct conf *conf = conf_new();
	struct conf_error err = {.text = "out of memory"};
	struct check *c;
	int ret;

	report_group(r, "%s", o->config);
	ret = conf == NULL ? -ENOMEM : conf_read(conf, o->config, &err);
	if (ret == 0)
		ret = conf_check(conf, true, &err);
	if (ret < 0) {
		if (err.line > 0)
			c = report_add(r, VERDICT_ERROR, "settings", "settings", "line %u: %s", err.line, err.text);
		else
			c = report_add(r, VERDICT_ERROR, "settings", "settings", "%s", err.text);
		check_advise(c, ret == -EACCES ? "Run the check as root." : "Correct the file, or name another with -c; xmpp443-shim.conf(5) has an example.");
		conf_unref(conf);
		return NULL;
	}
	report_add(r, VERDICT_OK, "settings", "settings", "%zu routes, then the web server", conf->n_routes);
	return conf;
}

int local_shell(const struct options *o, const char *command, char **ret_text)
{
	const char *argv[8];
	size_t n = 0;

	argv[n++] = "prosodyctl";
	if (o->prosodyctl_config != NULL) {
		argv[n++] = "--config";
		argv[n++] = o->prosodyctl_config;
	}
	argv[n++] = "shell";
	argv[n++] = command;
	argv[n] = NULL;
	return run_program(argv, o->timeout_ms, ret_text);
}

bool local_mentions(const char *text, const char *address)
{
	size_t len = strlen(address);

	for (const char *at = strstr(text, address); at != NULL; at = strstr(at + 1, address)) {
		unsigned char before = at > text ? (unsigned char)at[-1] : ' ', after = (unsigned char)at[len];

		if (!isxdigit(before) && before != '.' && before != ':' && !isxdigit(after) &&
		    (after != '.' || !isdigit((unsigned char)at[len + 1])))
			return true;
	}
	return false;
}

void local_prosody(struct report *r, const struct options *o)
{
	struct check *c;
	char *text;
	int status;

	report_group(r, "Prosody");
	status = local_shell(o, "module:list(\"*\")", &text);
	if (status == 0 && text != NULL && strstr(text, "net_fdpass") != NULL) {
		report_add(r, VERDICT_OK, "module", "mod_net_fdpass", "is loaded");
	} else if (status == 0 && text != NULL && strstr(text, "admin_shell") != NULL) {
		c = report_add(r, VERDICT_ERROR, "module", "mod_net_fdpass", "is not loaded");
		check_advise(c, "Add \"net_fdpass\" to the global modules_enabled in Prosody's configuration, and restart Prosody.");
	} else {
		c = report_add(r, VERDICT_NOTE, "module", "mod_net_fdpass", "not asked: prosodyctl shell %s",
			       status == -ENOENT ? "is not there" : status == -ETIMEDOUT ? "does not answer" : "does not work for this user");
		check_advise(c, "Run the check as root, with \"admin_shell\" in Prosody's modules_enabled.");
	}
	free(text);
}

void local_check(struct report *r, const struct options *o)
{
	struct conf *conf = local_settings(r, o);

	if (conf == NULL) {
		local_units(r, o);
		return;
	}
	local_shim(r, conf);
	local_units(r, o);
	for (size_t i = 0; i < conf->n_routes; i++) {
		bool again = false;

		for (size_t k = 0; k < i; k++)
			again = again || addr_endpoint_equal(&conf->routes[k].target, &conf->routes[i].target);
		if (again)
			continue;
		if (conf->routes[i].fdpass)
			local_handoff(r, &conf->routes[i]);
		else
			local_backend(r, o, &conf->routes[i]);
	}
	local_prosody(r, o);
	local_backend(r, o, &conf->web);
	local_seen(r, o, conf);
	conf_unref(conf);
}
