#include "metrics.h"

#include "support.h"

#include <stdlib.h>
#include <string.h>

/* Two workers, with numbers that are all different. */
struct fixture {
	struct env_counts env[2];
	struct counter bytes[2][2];
	struct handoff_counts handoff[2];
	char routes[3][ROUTE_NAME_MAX + 1];
	struct metrics m;
};

static void set_up(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	strcpy(f->routes[0], "web");
	strcpy(f->routes[1], "xmpp-client");
	strcpy(f->routes[2], "other");
	f->m = (struct metrics){
		.version = "1.2-3",
		.routes = f->routes,
		.n_routes = 3,
		.n_workers = 2,
		.max_connections = 77,
		.reloads = 5,
		.failed_reloads = 6,
		.proc = {.open_fds = 8, .max_fds = 9, .resident_bytes = 4096, .cpu = 1.5, .start = 1234567890.25},
	};
	for (int i = 0; i < 2; i++)
		f->m.workers[i] = (struct worker_counts){.env = &f->env[i], .relay_bytes = f->bytes[i], .handoff = &f->handoff[i]};
}

/* The caller frees it. */
static char *written(const struct fixture *f, bool openmetrics)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	metrics_write(&f->m, out, openmetrics);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void has_line(const char *text, const char *line)
{
	char *copy = strdup(text), *rest = copy, *one;
	bool found = false;

	assert_non_null(copy);
	while ((one = strsep(&rest, "\n")) != NULL)
		found = found || strcmp(one, line) == 0;
	free(copy);
	if (!found)
		fail_msg("no line '%s' in\n%s", line, text);
}

static void each_number_is_the_sum_over_the_workers(void **state)
{
	static const char *const lines[] = {
		"xmpp443_accepted_total 11",
		"xmpp443_routed_total{route=\"xmpp-client\",verdict=\"ok\"} 31",
		"xmpp443_routed_total{route=\"web\",verdict=\"not-tls\"} 51",
		"xmpp443_routed_total{route=\"other\",verdict=\"too-long\"} 0",
		"xmpp443_handed_off_total{route=\"xmpp-client\"} 71",
		"xmpp443_closed_total{reason=\"backend-refused\",route=\"web\"} 91",
		"xmpp443_closed_total{reason=\"hello-timeout\"} 111",
		"xmpp443_connections{state=\"undecided\"} 3",
		"xmpp443_connections{state=\"unanswered\"} 2",
		"xmpp443_connections{state=\"held\"} 5",
		"xmpp443_connections{state=\"relayed\"} 9",
		"xmpp443_connections_max 77",
		"xmpp443_workers 2",
		"xmpp443_channels{state=\"up\"} 1",
		"xmpp443_channels{state=\"away\"} 1",
		"xmpp443_acks_total{verdict=\"adopted\"} 131",
		"xmpp443_acks_total{verdict=\"refused\"} 1",
		"xmpp443_acks_total{verdict=\"later\"} 2",
		"xmpp443_held_total 8",
		"xmpp443_relay_bytes_total{direction=\"to-backend\"} 10000000001",
		"xmpp443_relay_bytes_total{direction=\"to-client\"} 20000000002",
		"xmpp443_accept_pauses_total{reason=\"no-resources\"} 4",
		"xmpp443_accept_pauses_total{reason=\"full\"} 5",
		"xmpp443_reloads_total{result=\"ok\"} 5",
		"xmpp443_reloads_total{result=\"failed\"} 6",
		"xmpp443_build_info{version=\"1.2-3\"} 1",
		"process_start_time_seconds 1234567890.250",
		"process_cpu_seconds_total 1.500",
		"process_open_fds 8",
		"process_max_fds 9",
		"process_resident_memory_bytes 4096",
	};
	struct fixture *f = malloc(sizeof(*f));
	char *text;

	(void)state;
	assert_non_null(f);
	set_up(f);
	counter_add(&f->env[0].accepted, 10);
	counter_add(&f->env[1].accepted, 1);
	counter_add(&f->env[0].routed[1][VERDICT_OK], 30);
	counter_add(&f->env[1].routed[1][VERDICT_OK], 1);
	counter_add(&f->env[0].routed[0][VERDICT_NOT_TLS], 50);
	counter_add(&f->env[1].routed[0][VERDICT_NOT_TLS], 1);
	counter_add(&f->env[0].ended[1][END_HANDED_OFF], 70);
	counter_add(&f->env[1].ended[1][END_HANDED_OFF], 1);
	counter_add(&f->env[0].ended[0][END_BACKEND_REFUSED], 90);
	counter_add(&f->env[1].ended[0][END_BACKEND_REFUSED], 1);
	counter_add(&f->env[0].unrouted[END_HELLO_TIMEOUT], 110);
	counter_add(&f->env[1].unrouted[END_HELLO_TIMEOUT], 1);
	counter_add(&f->env[1].undecided_now, 3);
	counter_add(&f->env[1].passed_now, 7);
	counter_add(&f->env[1].relayed_now, 10);
	counter_sub(&f->env[1].relayed_now, 1);
	counter_add(&f->env[0].short_of_resources, 4);
	counter_add(&f->env[0].full, 5);
	counter_add(&f->handoff[0].held_now, 5);
	counter_add(&f->handoff[0].held, 8);
	counter_add(&f->handoff[0].up_now, 1);
	counter_add(&f->handoff[1].away_now, 1);
	counter_add(&f->handoff[0].adopted, 130);
	counter_add(&f->handoff[1].adopted, 1);
	counter_add(&f->handoff[1].refused, 1);
	counter_add(&f->handoff[1].later, 2);
	counter_add(&f->bytes[0][0], 10000000000);
	counter_add(&f->bytes[1][0], 1);
	counter_add(&f->bytes[0][1], 20000000000);
	counter_add(&f->bytes[1][1], 2);

	for (int openmetrics = 0; openmetrics < 2; openmetrics++) {
		text = written(f, openmetrics);
		for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
			has_line(text, lines[i]);
		free(text);
	}
	free(f);
}

static void every_reason_to_end_has_a_line(void **state)
{
	struct fixture *f = malloc(sizeof(*f));
	char *text, wanted[100];

	(void)state;
	assert_non_null(f);
	set_up(f);
	text = written(f, true);
	for (int end = 0; end < ENDS_N; end++) {
		snprintf(wanted, sizeof(wanted), "xmpp443_closed_total{reason=\"%s\"", env_end_name((enum env_end)end));
		if ((strstr(text, wanted) != NULL) != (end != END_HANDED_OFF))
			fail_msg("%s in\n%s", wanted, text);
	}
	free(text);
	free(f);
}

static void the_times_of_hellos_add_up(void **state)
{
	struct fixture *f = malloc(sizeof(*f));
	struct route r = {.slot = 1};
	struct env *env = calloc(1, sizeof(*env));
	char *text;

	(void)state;
	assert_non_null(f);
	assert_non_null(env);
	set_up(f);
	f->m.workers[1].env = &env->counts;
	env_count_verdict(env, VERDICT_OK, &r, 0);
	env_count_verdict(env, VERDICT_OK, &r, 1);
	env_count_verdict(env, VERDICT_OK, &r, 2);
	env_count_verdict(env, VERDICT_OK, &r, 10000);
	env_count_verdict(env, VERDICT_OK, &r, 10001);
	text = written(f, true);
	has_line(text, "xmpp443_hello_seconds_bucket{le=\"0.001\"} 2");
	has_line(text, "xmpp443_hello_seconds_bucket{le=\"0.005\"} 3");
	has_line(text, "xmpp443_hello_seconds_bucket{le=\"0.25\"} 3");
	has_line(text, "xmpp443_hello_seconds_bucket{le=\"1.0\"} 3");
	has_line(text, "xmpp443_hello_seconds_bucket{le=\"10.0\"} 4");
	has_line(text, "xmpp443_hello_seconds_bucket{le=\"+Inf\"} 5");
	has_line(text, "xmpp443_hello_seconds_count 5");
	has_line(text, "xmpp443_hello_seconds_sum 20.004");
	free(text);
	free(env);
	free(f);
}

static void the_two_formats_differ_as_their_specifications_do(void **state)
{
	struct fixture *f = malloc(sizeof(*f));
	char *text;

	(void)state;
	assert_non_null(f);
	set_up(f);
	text = written(f, true);
	has_line(text, "# TYPE xmpp443_accepted counter");
	has_line(text, "# TYPE xmpp443_build info");
	assert_string_equal(text + strlen(text) - 6, "# EOF\n");
	free(text);
	text = written(f, false);
	has_line(text, "# TYPE xmpp443_accepted_total counter");
	has_line(text, "# TYPE xmpp443_build_info gauge");
	assert_null(strstr(text, "EOF"));
	free(text);
	free(f);
}

static void what_is_not_known_is_left_out(void **state)
{
	struct fixture *f = malloc(sizeof(*f));
	char *text;

	(void)state;
	assert_non_null(f);
	set_up(f);
	f->m.proc = (struct proc_numbers){.open_fds = -1, .max_fds = -1, .resident_bytes = -1};
	/* Read while a connection goes from one to the other. */
	counter_add(&f->handoff[0].held_now, 5);
	counter_add(&f->env[0].passed_now, 4);
	text = written(f, true);
	assert_null(strstr(text, "process_open_fds"));
	assert_null(strstr(text, "process_max_fds"));
	assert_null(strstr(text, "process_resident"));
	has_line(text, "xmpp443_connections{state=\"unanswered\"} 0");
	free(text);
	free(f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(each_number_is_the_sum_over_the_workers),
		TEST(every_reason_to_end_has_a_line),
		TEST(the_times_of_hellos_add_up),
		TEST(the_two_formats_differ_as_their_specifications_do),
		TEST(what_is_not_known_is_left_out),
	};

	return cmocka_run_group_tests_name("metrics", tests, group_begin, NULL);
}
