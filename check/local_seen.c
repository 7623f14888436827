/* Through the shim and back by the servers' logs: whose address do they see? */
#include "local.h"

#include "judge.h"
#include "mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SOURCE 0x7f2c0301     /* 127.44.3.1: ours, and nobody else's habit */
#define HTTPS_PORT 443
#define LOG_TAIL 262144       /* bytes of a log that are looked at */
#define LOG_PATIENCE_MS 3000  /* web servers write their logs when they like */
#define LOG_PAUSE_MS 100

static const char *const usual_logs[] = {"/var/log/nginx/access.log", "/var/log/apache2/access.log",
					 "/var/log/apache2/other_vhosts_access.log", "/var/log/lighttpd/access.log",
					 "/var/log/caddy/access.log"};

static struct addr_endpoint loopback(in_addr_t ip, uint16_t port)
{
	struct addr_endpoint e = {.len = sizeof(e.u.in)};

	e.u.in.sin_family = AF_INET;
	e.u.in.sin_port = htons(port);
	e.u.in.sin_addr.s_addr = htonl(ip);
	return e;
}

/*
 * Where the shim can be reached from here, and from which address: one on
 * loopback that could not be anybody else, if it listens there. Otherwise the
 * kernel chooses, which is the shim's own address.
 */
static void choose_way(const struct conf *conf, struct addr_endpoint *ret_to, struct addr_endpoint *ret_from)
{
	const struct addr_endpoint *six = NULL, *other = NULL;

	*ret_from = (struct addr_endpoint){0};
	for (size_t i = 0; i < conf->n_listen; i++) {
		const struct addr_endpoint *l = &conf->listen[i];

		if (l->u.sa.sa_family == AF_INET && l->u.in.sin_addr.s_addr == INADDR_ANY) {
			*ret_to = loopback(INADDR_LOOPBACK, ntohs(l->u.in.sin_port));
			*ret_from = loopback(SOURCE, 0);
			return;
		}
		if (l->u.sa.sa_family == AF_INET)
			other = l;
		else if (l->u.sa.sa_family == AF_INET6)
			six = l;
	}
	if (other != NULL || six != NULL) {
		*ret_to = other != NULL ? *other : *six;
		return; /* connecting to :: is connecting to ::1, see ip(7) */
	}
	/* systemd owns the port. */
	*ret_to = loopback(INADDR_LOOPBACK, HTTPS_PORT);
	*ret_from = loopback(SOURCE, 0);
}

static void address_of(const struct addr_endpoint *e, char out[64])
{
	struct addr a = addr_from_sockaddr(&e->u.sa);
	char text[ADDR_TEXT_MAX];

	snprintf(out, 64, "%s", addr_ip_text(&a, text));
}

/* The last lines of a log; NULL: it cannot be read. */
static char *read_tail(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	char *text = NULL;
	ssize_t n;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		text = mem_new(LOG_TAIL + 1);
		n = pread(fd, text, LOG_TAIL, st.st_size > LOG_TAIL ? st.st_size - LOG_TAIL : 0);
		text[n > 0 ? n : 0] = '\0';
	}
	close(fd);
	return text;
}

/* The line with this word in it, to be freed; NULL: none. */
static char *find_line(const char *path, const char *word)
{
	char *text = read_tail(path), *line = NULL;
	char *at = text != NULL ? strstr(text, word) : NULL;

	if (at != NULL) {
		while (at > text && at[-1] != '\n')
			at--;
		line = mem_printf("%.*s", (int)strcspn(at, "\n"), at);
	}
	free(text);
	return line;
}

/* Waits for the line, in any of the logs; *ret_readable: there is at least one log. */
static char *wait_for_line(const struct options *o, const char *word, const char **ret_path, bool *ret_readable)
{
	const char *const *logs = o->n_logs > 0 ? o->logs : usual_logs;
	size_t n = o->n_logs > 0 ? o->n_logs : sizeof(usual_logs) / sizeof(usual_logs[0]);

	*ret_readable = false;
	for (int waited = 0; waited < LOG_PATIENCE_MS; waited += LOG_PAUSE_MS) {
		for (size_t i = 0; i < n; i++) {
			char *line = find_line(logs[i], word);

			*ret_path = logs[i];
			*ret_readable = *ret_readable || access(logs[i], R_OK) == 0;
			if (line != NULL)
				return line;
		}
		nanosleep(&(struct timespec){.tv_nsec = LOG_PAUSE_MS * 1000000L}, NULL);
	}
	return NULL;
}

static void judge_web_log(struct report *r, const struct options *o, const char *word, const char *source)
{
	const char *path = NULL;
	bool readable = false;
	char *line = wait_for_line(o, word, &path, &readable);
	struct check *c;

	if (line == NULL) {
		c = report_add(r, VERDICT_NOTE, "web-log", "web server's log", readable ? "the request is in none of the logs" : "there is no log that can be read");
		check_advise(c, "Name the web server's access log with --web-log, and run the check as root.");
	} else if (local_mentions(line, source)) {
		report_add(r, VERDICT_OK, "web-log", "web server's log", "%s has the real address, %s", path, source);
	} else {
		c = report_add(r, VERDICT_ERROR, "web-log", "web server's log", "%s does not have the real address, %s", path, source);
		check_advise(c, "Let the web server take the address from the PROXY header (nginx: set_real_ip_from 127.0.0.1; real_ip_header "
				"proxy_protocol;).");
	}
	free(line);
}

/* The connection is open meanwhile, so that it is among Prosody's sessions. */
static void judge_prosody_sees(struct report *r, const struct options *o, const char *source)
{
	char *text = NULL;
	int status = local_shell(o, "c2s:show(nil, { \"id\", \"host\", \"ip\" })", &text);
	struct check *c;

	if (status != 0 || text == NULL || strstr(text, "sessions shown") == NULL) {
		c = report_add(r, VERDICT_NOTE, "prosody-sees", "Prosody sees", "not asked: prosodyctl shell does not work for this user");
		check_advise(c, "Run the check as root, with \"admin_shell\" in Prosody's modules_enabled.");
	} else if (local_mentions(text, source)) {
		report_add(r, VERDICT_OK, "prosody-sees", "Prosody sees", "the real address, %s", source);
	} else {
		c = report_add(r, VERDICT_ERROR, "prosody-sees", "Prosody sees", "no session from %s, the real address", source);
		check_advise(c, "Look which Prosody took the connection (ss -tnp), and whether something between it and the shim has addresses of its own.");
	}
	free(text);
}

static void judge_shim_answers(struct report *r, const struct probe *client, const struct probe *browser)
{
	struct check *c;
	char outcome[160];

	if (judge_is_xmpp(client)) {
		c = report_add(r, VERDICT_OK, "shim-xmpp", "XMPP", "%s, ALPN %s, stream features", client->version, client->chosen);
	} else {
		c = report_add(r, VERDICT_ERROR, "shim-xmpp", "XMPP", "a client with ALPN xmpp-client %s", judge_outcome(client, outcome, sizeof(outcome)));
		check_advise(c, "Mend what is wrong above; the shim's log (journalctl -u xmpp443-shim) tells what became of the connection.");
	}
	c->ms = client->tls_ms;
	if (browser->end == PROBE_OK && browser->http.status > 0) {
		c = report_add(r, VERDICT_OK, "shim-web", "web", "%s, HTTP %d", browser->version, browser->http.status);
	} else {
		c = report_add(r, VERDICT_ERROR, "shim-web", "web", "a browser %s", judge_outcome(browser, outcome, sizeof(outcome)));
		check_advise(c, "Mend what is wrong above; the shim's log (journalctl -u xmpp443-shim) tells what became of the connection.");
	}
	c->ms = browser->tls_ms;
}

void local_seen(struct report *r, const struct options *o, const struct conf *conf)
{
	const char *name = o->domain.ascii;
	struct probe client = {.tls = PROBE_TLS_AT_ONCE, .sni = name, .domain = name, .alpn = "xmpp-client", .talk = PROBE_TALK_STREAM,
			       .xmlns = "jabber:client", .service = "_xmpp-client", .keep = true};
	struct probe browser = {.tls = PROBE_TLS_AT_ONCE, .sni = name, .domain = name, .alpn = "http/1.1", .talk = PROBE_TALK_HTTP1};
	struct probe *both[] = {&client, &browser};
	char text[ADDR_ENDPOINT_TEXT_MAX], source[64], path[64];
	uint64_t random = 0;

	if (getrandom(&random, sizeof(random), 0) < 0)
		random = (uint64_t)getpid();
	snprintf(path, sizeof(path), "/xmpp443-check-%016llx", (unsigned long long)random);
	browser.path = path;
	choose_way(conf, &client.to, &client.from);
	browser.to = client.to;
	browser.from = client.from;

	report_group(r, "Through the shim, %s", addr_endpoint_text(&client.to, text));
	probe_run(both, 2, o->timeout_ms, NULL, NULL);
	judge_shim_answers(r, &client, &browser);
	if (judge_is_xmpp(&client)) {
		address_of(&client.local, source);
		judge_prosody_sees(r, o, source);
	}
	if (browser.end == PROBE_OK && browser.http.status > 0) {
		address_of(&browser.local, source);
		judge_web_log(r, o, path, source);
	}
	probe_close(&client);
	probe_close(&browser);
}
