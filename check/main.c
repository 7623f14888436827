#include "clock.h"
#include "judge.h"
#include "local.h"
#include "options.h"
#include "plan.h"
#include "print.h"
#include "tls.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define EXIT_TROUBLE 2

static void tick_dns(void *arg)
{
	const struct plan *p = arg;
	size_t asked, answered;

	dns_progress(p->dns, &asked, &answered);
	print_progress("asking DNS", answered, asked);
}

static void tick_probes(void *arg)
{
	size_t planned, made;

	plan_progress(arg, &planned, &made);
	print_progress("connecting", made, planned);
}

/* From anywhere: what clients see. */
static void check_remote(struct report *r, const struct options *o, struct dns *dns)
{
	struct plan plan = {.dns = dns};
	time_t now = time(NULL);

	plan_ask(&plan, o, dns, tick_dns, &plan);
	plan_places(&plan);
	if (o->connect_host[0] != '\0' || judge_dns(r, &plan))
		plan_run(&plan, tick_probes, &plan);
	else
		plan_drop_places(&plan);
	print_progress(NULL, 0, 0);
	for (size_t i = 0; i < plan.n_places; i++)
		judge_place(r, &plan, &plan.places[i], now);
	plan_free(&plan);
}

static bool set_up(const struct options *o, struct dns **ret_dns)
{
	const char *why;

	if (!o->local && !dns_new(o->resolver, o->trust_anchor, ret_dns, &why)) {
		fprintf(stderr, "xmpp443-check: %s\n", why);
		return false;
	}
	if (!tls_set_up(o->ca_file)) {
		fprintf(stderr, "xmpp443-check: %s: no certificates can be read from it\n", o->ca_file);
		return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct report report = {0};
	struct options o;
	struct dns *dns = NULL;
	int code;
	int64_t begun = clock_ms();
	time_t now = time(NULL);

	setlocale(LC_CTYPE, ""); /* for names on the command line that are not UTF-8 */
	code = options_read(argc, argv, &o);
	if (code >= 0)
		return code;
	signal(SIGPIPE, SIG_IGN);
	if (!set_up(&o, &dns)) {
		dns_free(dns);
		return EXIT_TROUBLE;
	}
	if (o.local)
		local_check(&report, &o);
	else
		check_remote(&report, &o, dns);

	if (o.json)
		print_json(stdout, &report, &o, now, (int)(clock_ms() - begun));
	else
		print_report(stdout, &report, &o, now, (int)(clock_ms() - begun), print_wants_colour(stdout), print_width(stdout));
	code = report_exit_code(&report);
	report_free(&report);
	tls_clean_up();
	dns_free(dns);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("xmpp443-check: standard output");
		return EXIT_TROUBLE;
	}
	return code;
}
