#ifndef XMPP443_CONF_H
#define XMPP443_CONF_H

/*
 * conf: the settings, from an INI file (read by inih) or from flags.
 *
 * Every value is checked when it is set. No name is resolved, ever: an
 * address that is not numeric is an error.
 */

#include "addr.h"
#include "conf_value.h"
#include "log.h"
#include "route.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define CONF_LISTEN_MAX 32
#define CONF_ROUTES_MAX 64
#define CONF_WORKERS_MAX 64
#define CONF_TRUSTED_MAX 64
#define CONF_CONNECTIONS_MAX 1000000
#define CONF_ACCOUNT_MAX 63

/* What becomes of connections when this process ends, doc/reliability.md. */
enum conf_keep {
	CONF_KEEP_OFF,     /* they end too */
	CONF_KEEP_RESTART, /* they survive an orderly end and the next start */
	CONF_KEEP_CRASH,   /* those older than keep_after_ms survive any end */
};

struct conf {
	atomic_uint refs;
	struct addr_endpoint listen[CONF_LISTEN_MAX];
	size_t n_listen;
	unsigned workers; /* 0: one per CPU this process may use */
	unsigned hello_timeout_ms;
	unsigned connect_timeout_ms;
	unsigned idle_timeout_ms;        /* of a relay; 0: off */
	unsigned half_closed_timeout_ms; /* of a relay of which one side has ended; 0: off */
	unsigned max_connections;
	unsigned max_pending_per_ip;
	unsigned max_held;
	enum conf_keep keep;
	unsigned keep_after_ms;
	enum log_level log_level;
	char user[CONF_ACCOUNT_MAX + 1], group[CONF_ACCOUNT_MAX + 1]; /* for a start as root */
	enum log_about log_about;
	unsigned log_rate; /* lines in a second; 0: no limit */
	struct addr_endpoint metrics; /* len 0: none */
	enum sandbox_mode sandbox;
	struct route routes[CONF_ROUTES_MAX]; /* in the file's order */
	size_t n_routes;
	struct route web;                     /* what no rule matched */
	struct addr_prefix trusted[CONF_TRUSTED_MAX]; /* whose PROXY headers are believed */
	size_t n_trusted;
};

/* The sections that a key may stand in. [web] is a route without conditions that cannot hand off. */
enum conf_in {
	CONF_IN_SHIM = 1,
	CONF_IN_ROUTE = 2,
	CONF_IN_WEB = 4,
};

/* All that is known of a key. */
struct conf_key {
	unsigned in;           /* of enum conf_in, any number of them */
	const char *name;
	const char *value;     /* how it is written, as the manual puts it */
	const char *fallback;  /* the default, as text; NULL: nothing */
	/* target is the struct conf, or the struct route for CONF_IN_ROUTE and CONF_IN_WEB. As conf_set(). */
	int (*set)(const struct conf_key *k, void *target, const char *value, struct conf_error *err);
	/* For set: offset of the field in target, its limits (times in milliseconds), and one item of a list. */
	size_t at;
	unsigned min, max;
	int (*add)(void *target, char *item, struct conf_error *err);
};

extern const struct conf_key conf_keys[];
extern const size_t conf_keys_n;

/* The defaults, with no listener, no route and no web backend; one reference. NULL: no memory. */
struct conf *conf_new(void);

/* One more owner; a conf is not changed any more once it has several. Returns c. */
struct conf *conf_ref(struct conf *c);

/* One owner less; the last one frees it. Takes NULL. */
void conf_unref(struct conf *c);

/*
 * Sets one key, as the line "key = value" below "[section]" does. 0, or
 * -EINVAL: *err says what is wrong; -ENOMEM.
 */
int conf_set(struct conf *c, const char *section, const char *key, const char *value, struct conf_error *err);

/*
 * Reads a file into c. 0, or -EINVAL: *err names the line; -ENOMEM; a negative
 * errno of open(2) or read(2), with *err filled too.
 */
int conf_read(struct conf *c, const char *path, struct conf_error *err);

/* The same from a descriptor, of which it takes ownership, also on failure; or a negative errno in its place, which is reported. */
int conf_read_fd(struct conf *c, int fd, struct conf_error *err);

/*
 * Is anything missing? listen is not needed if sockets were passed to us. 0,
 * or -EINVAL with *err.
 */
int conf_check(const struct conf *c, bool sockets_passed, struct conf_error *err);

/* Does this peer have to send a PROXY header, and is it believed? */
bool conf_trusts(const struct conf *c, const struct addr *peer);

#endif
