#include "env.h"

#include "log.h"

#include <string.h>

const char *env_end_name(enum env_end end)
{
	static const char *const names[] = {
		[END_HANDED_OFF] = "handed-off",
		[END_RELAYED] = "relayed",
		[END_RESET] = "reset",
		[END_IDLE_TIMEOUT] = "idle-timeout",
		[END_HELLO_TIMEOUT] = "hello-timeout",
		[END_CLIENT_GONE] = "client-gone",
		[END_BAD_PROXY_HEADER] = "bad-proxy-header",
		[END_EVICTED] = "evicted",
		[END_TOO_MANY_PENDING] = "too-many-pending",
		[END_HOLD_EXPIRED] = "hold-expired",
		[END_HELD_FULL] = "held-full",
		[END_REFUSED] = "refused",
		[END_BACKEND_REFUSED] = "backend-refused",
		[END_BACKEND_TIMEOUT] = "backend-timeout",
		[END_NO_RESOURCES] = "no-resources",
		[END_STOPPED] = "stopped",
	};

	return end < ENDS_N ? names[end] : "?";
}

/* Ends that are nobody's failure are worth a line only to somebody who looks for them. */
static enum log_level level_of(enum env_end end)
{
	return end == END_RELAYED || end == END_RESET || end == END_IDLE_TIMEOUT || end == END_STOPPED ? LOG_LEVEL_DEBUG
												      : LOG_LEVEL_INFO;
}

void env_count_end(struct env *env, enum env_end end, const struct addr *peer, const char *route, int error)
{
	char text[ADDR_TEXT_MAX];

	env->ends[end]++;
	/* A hand-off has a line of its own. */
	if (end == END_HANDED_OFF || !log_wants(level_of(end)))
		return;
	if (error < 0)
		log_line(level_of(end), "event=closed reason=%s peer=%s route=%s error=\"%s\"", env_end_name(end),
			 addr_text(peer, text), route, strerror(-error));
	else
		log_line(level_of(end), "event=closed reason=%s peer=%s route=%s", env_end_name(end),
			 addr_text(peer, text), route);
}
